"""The command `load`: its options, and what it says of a file."""

from collections.abc import Callable
from pathlib import Path

from psycopg import Connection

Run = Callable[..., tuple[int, str, str]]


def test_options_reach_the_reader(run: Run, database: Connection, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('id\tabstract\n1\t"He \\"said\\" na\xefve."\n'.encode("cp1252"))
    assert (
        "row 1 is not UTF-8" in run("load", path, "--id-column", "id", "--delimiter", "tab", "--backslash-escapes")[2]
    )
    code, _, err = run(
        "load", path, "--id-column", "id", "--delimiter", r"\t", "--backslash-escapes", "--encoding", "cp1252"
    )
    assert (code, "1 record, 1 new, 0 updated, 0 unchanged" in err) == (0, True)
    query = "SELECT abstract FROM sum_assets.corpus_abstract"
    assert database.execute(query).fetchall() == [('He "said" na\xefve.',)]
    code, _, err = run("load", path, "--delimiter", ";;")
    assert (code, "Name one character" in err, "Traceback" in err) == (1, True, False)


def test_titles_that_are_left_out_have_a_line(run: Run, database: Connection, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"abstract_id,title,abstract\n5,good,a\n6,\xff,b\n7,\xfe,c\n8,x\0,d\n")
    code, _, err = run("load", path, "--encoding", "utf-8")
    assert (code, "4 records, 4 new" in err) == (0, True)
    assert "2 titles left out: wrong_encoding, first of ID 6" in err
    assert "1 title left out: nul_character, first of ID 8" in err
    path.write_text("abstract_id,title,title,abstract\n5,T,U,a\n")
    code, _, err = run("load", path)
    assert (code, "1 unchanged\n  2 columns are called title, and are left out" in err) == (0, True), err


def test_whatever_is_not_loaded_has_a_line(run: Run, database: Connection, tmp_path: Path) -> None:
    pubmed = (
        '<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID Version="1">{}</PMID><Article><Abstract>'
        "<AbstractText>{}</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>{}</PubmedArticleSet>"
    )
    first, update, own = tmp_path / "first.xml", tmp_path / "update.xml", tmp_path / "own.csv"
    first.write_text(pubmed.format(5, "text", ""))
    update.write_text(pubmed.format(6, "text", "<DeleteCitation><PMID>5</PMID></DeleteCitation>"))
    own.write_text("abstract_id,abstract\n6,corrected\n7,new\n7,newer\nx,y\n")
    assert run("load", first)[0] == 0
    code, _, err = run("load", update, own, first)
    assert code == 0
    for line in (
        "1 stored abstract withdrawn",
        "1 deletion\n",
        "1 updated although the versions cannot be compared",
        "1 not loaded: the file has a newer record of the same ID",
        "1 skipped: bad_id, first row 4, ID 'x'",
        "the IDs are taken for PMIDs",
        "first.xml: 1 record, 0 new, 0 updated, 0 unchanged",
        "1 not loaded: what is stored is a newer version",
    ):
        assert line in err
    own.write_text("abstract_id,abstract\nPMC6,other\n")
    code, _, err = run("load", own)
    assert (code, "one ID would mean two articles" in " ".join(err.split())) == (1, True)
