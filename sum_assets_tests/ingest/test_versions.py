"""Whose IDs the corpus has, which of two texts is the newer, and what withdraws one."""

import itertools
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from sum_assets.database.connection import connect
from sum_assets.database.schema import MIGRATIONS
from sum_assets.database.statements import statement
from sum_assets.errors import UserError
from sum_assets.ingest import load as load_module
from sum_assets.ingest.load import LoadReport, load_file
from sum_assets.ingest.records import ReaderOptions


def citation(pmid: int, version: int = 1, year: int = 2020, text: str | None = "PubMed's.") -> str:
    abstract = f"<Abstract><AbstractText>{text}</AbstractText></Abstract>" if text else ""
    return (
        f'<PubmedArticle><MedlineCitation><PMID Version="{version}">{pmid}</PMID><DateRevised><Year>{year}</Year>'
        f"<Month>01</Month><Day>02</Day></DateRevised><Article>{abstract}</Article></MedlineCitation></PubmedArticle>"
    )


def deletion(pmid: int, version: int = 1) -> str:
    return f'<DeleteCitation><PMID Version="{version}">{pmid}</PMID></DeleteCitation>'


@pytest.fixture
def load(database: Connection, tmp_path: Path) -> Any:
    numbers = itertools.count()

    def load_content(kind: str, *content: str, **options: Any) -> LoadReport:
        path = tmp_path / f"{next(numbers)}.{kind}"
        match kind:
            case "xml":
                path.write_text(f"<PubmedArticleSet>{''.join(content)}</PubmedArticleSet>")
            case "nxml":
                path.write_text("".join(content))
            case "csv":
                path.write_text("\n".join(["abstract_id,abstract,v", *content, ""]))
        return load_file(database, path, ReaderOptions(**options))

    return load_content


def texts(database: Connection) -> dict[int, str]:
    return dict(database.execute("SELECT abstract_id, abstract FROM sum_assets.corpus_abstract").fetchall())


def jats(pmc: int) -> str:
    return (
        f'<article><front><article-meta><article-id pub-id-type="pmc">{pmc}</article-id>'
        f'<article-id pub-id-type="pmid">{pmc + 1}</article-id><abstract><p>JATS.</p></abstract></article-meta></front>'
        "</article>"
    )


FILES: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
    "PubMed": (("xml", citation(5)), {}),
    "JATS": (("nxml", jats(5)), {}),
    "JATS by PMID": (("nxml", jats(4)), {"jats_id": "pmid"}),
    "PMC": (("csv", "PMC5,text,"), {}),
    "bare": (("csv", "5,text,"), {}),
    "said pmid": (("csv", "5,text,"), {"id_space": "pmid"}),
    "said pmc": (("csv", "5,text,"), {"id_space": "pmc"}),
    "said own": (("csv", "5,text,"), {"id_space": "own"}),
}
SPACES = {
    "PubMed": "pmid", "JATS": "pmc", "JATS by PMID": "pmid", "PMC": "pmc", "bare": None,
    "said pmid": "pmid", "said pmc": "pmc", "said own": "own",
}  # fmt: skip


@pytest.mark.parametrize("first", FILES)
def test_two_articles_never_share_an_id(database: Connection, load: Any, first: str) -> None:
    for second in FILES:
        database.execute("TRUNCATE sum_assets.corpus_abstract")
        (content, options), (other, other_options) = FILES[first], FILES[second]
        load(*content, **options)
        before = texts(database)
        corpus, space = SPACES[first] or "own", SPACES[second]
        agrees = (
            space == corpus or (space is None and corpus != "pmc") or (corpus == "own" and second.startswith("said"))
        )
        if agrees:
            report = load(*other, **other_options)
            assert report.inserted == 0, f"{second} after {first}"
            assert bool(report.remarks) == (second == "bare" and corpus == "pmid")
        else:
            with pytest.raises(UserError, match=r"one ID would mean two articles\. Load it into a database of its own"):
                load(*other, **other_options)
            assert texts(database) == before


def test_a_file_of_two_id_spaces_is_refused(load: Any, database: Connection) -> None:
    with pytest.raises(UserError, match="PMC5 and 5 are two articles"):
        load("csv", "PMC5,first,", "5,second,")
    assert load("csv", "PMC5,first,", "6,second,", id_space="pmc").inserted == 2
    with pytest.raises(UserError, match=r"has PMC IDs, not PMIDs. Leave out --id-space"):
        load("csv", "PMC5,first,", id_space="pmid")


def test_numbers_of_ones_own_become_pmids_where_the_user_says_so(load: Any, database: Connection) -> None:
    load("csv", "5,text,")
    with pytest.raises(UserError, match="If those are PMIDs too, add --id-space pmid"):
        load("xml", citation(6))
    assert load("xml", citation(6), id_space="pmid").inserted == 1
    assert load("xml", citation(7)).inserted == 1
    assert database.execute("SELECT id_space FROM sum_assets.corpus_id_space").fetchall() == [("pmid",)]


def test_a_correction_of_another_format_is_loaded_and_said(load: Any, database: Connection) -> None:
    load("xml", citation(5))
    for options in ({}, {"version_column": "v"}):
        report = load("csv", "5,Corrected.,20210101", **options)
        assert (report.updated, report.incomparable, report.unchanged) == (1, 1, 0)
        assert texts(database) == {5: "Corrected."}
        assert load("csv", "5,Corrected.,20210101", **options).unchanged == 1
        assert (load("xml", citation(5)).incomparable, texts(database)) == (1, {5: "PubMed's."})
    report = load("csv", "5,PubMed's.,")
    assert (report.unchanged, report.updated) == (1, 0)
    assert load("xml", citation(5, text="Older.", year=2019)).older == 1, "the same text keeps its version"


def test_older_and_repeated_records_are_counted_as_such(load: Any, database: Connection) -> None:
    load("xml", citation(5, 2, 2021))
    report = load("xml", citation(5, 1, 2022), citation(6, 1, 2020), citation(6, 1, 2021, "Newer."))
    assert (report.older, report.repeated, report.unchanged, report.inserted, report.read) == (1, 1, 0, 1, 3)
    assert texts(database) == {5: "PubMed's.", 6: "Newer."}
    assert load("csv", "5,text,3", version_column="v").updated == 1
    assert load("csv", "5,text,2", version_column="v").older == 1


def test_deletions_withdraw_whatever_the_order_of_the_files(load: Any, database: Connection) -> None:
    deletes = (citation(12), deletion(5), deletion(99))
    load("xml", citation(5), citation(6))
    report = load("xml", *deletes)
    assert (report.read, report.inserted, report.deletions, report.withdrawn) == (3, 1, 2, 1)
    assert texts(database).keys() == {6, 12}
    again = load("xml", *deletes)
    assert (again.unchanged, again.deletions, again.withdrawn) == (1, 2, 0)
    late = load("xml", citation(5, year=2022), citation(99))
    assert (late.older, late.inserted) == (2, 0)
    assert load("xml", citation(5, version=2)).inserted == 1, "a later version is another citation"
    assert (load("xml", deletion(5)).withdrawn, 5 in texts(database)) == (0, True)
    assert load("xml", citation(7), deletion(7)).withdrawn == 0
    assert 7 not in texts(database)
    load("csv", "6,Ours.,")
    assert load("xml", deletion(6)).withdrawn == 1


@pytest.mark.parametrize("newer", [citation(5, 2, text=None), citation(5, 1, 2021, text=None)])
def test_a_newer_version_without_abstract_withdraws(load: Any, database: Connection, newer: str) -> None:
    load("xml", citation(5))
    report = load("xml", newer)
    assert (report.withdrawn, report.skipped, report.read, texts(database)) == (1, {"no_abstract": 1}, 1, {})
    assert load("xml", citation(5)).older == 1
    assert load("xml", citation(5, 3)).inserted == 1
    assert database.execute("SELECT count(*) FROM sum_assets.corpus_withdrawal").fetchone() == (0,)
    both = load("xml", citation(8), citation(8, 2, text=None))
    assert (both.inserted, both.repeated, both.read, both.skipped) == (0, 1, 2, {"no_abstract": 1})


def test_an_absent_abstract_that_is_not_newer_withdraws_nothing(load: Any, database: Connection) -> None:
    load("xml", citation(5, 2), citation(6))
    assert load("xml", citation(5, 1, text=None)).withdrawn == 0
    report = load("csv", "5,,", "6,,")
    assert (report.kept, report.withdrawn, len(texts(database))) == (2, 0, 2)
    assert load("xml", citation(6, text=None)).kept == 1
    load("csv", "6,b,4", version_column="v")
    assert load("csv", "6,,5", version_column="v").withdrawn == 1


def test_records_deleted_by_oai_are_withdrawn(load: Any, database: Connection) -> None:
    load("nxml", jats(5))
    header = "<header status='deleted'><identifier>oai:{}:5</identifier></header>"
    listing = "<OAI-PMH><ListRecords><record>{}</record></ListRecords></OAI-PMH>"
    other = load("nxml", listing.format(header.format("elsewhere")))
    assert (other.deletions, other.skipped) == (0, {"bad_id": 1})
    report = load("nxml", listing.format(header.format("pubmedcentral.nih.gov")))
    assert (report.deletions, report.withdrawn, texts(database)) == (1, 1, {})


@pytest.mark.parametrize(
    ("versions", "schemes", "space"),
    [
        ([120200102, 300000000], ["pubmed", "pubmed"], [("pmid",)]),
        ([0, 120200102], ["none", "pubmed"], [("own",)]),
        ([20200102, 7], ["column", "column"], [("own",)]),
        ([], [], []),
    ],
)
def test_a_corpus_of_before_is_migrated(
    database: Connection, versions: list[int], schemes: list[str], space: list[tuple[str]]
) -> None:
    database.execute("DROP TABLE sum_assets.corpus_id_space, sum_assets.corpus_withdrawal")
    database.execute("ALTER TABLE sum_assets.corpus_abstract DROP COLUMN version_scheme")
    for number, version in enumerate(versions, 1):
        database.execute(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract, version) VALUES (%s, 'a', %s)",
            [number, version],
        )
    (migration,) = (path.stem for path in MIGRATIONS if path.stem.startswith("0010"))
    database.execute(statement(f"migrations/{migration}"))
    query = "SELECT version_scheme FROM sum_assets.corpus_abstract ORDER BY abstract_id"
    assert [row[0] for row in database.execute(query).fetchall()] == schemes
    assert database.execute("SELECT id_space FROM sum_assets.corpus_id_space").fetchall() == space


def test_a_newer_text_that_cannot_be_held_leaves_the_stored_one(load: Any, database: Connection) -> None:
    load("csv", "5,Old.,1", "6,Old.,1", version_column="v")
    report = load("csv", "5,New\0.,2", "6,,2", version_column="v")
    assert (report.skipped, report.withdrawn) == ({"nul_character": 1, "no_abstract": 1}, 1)
    assert texts(database) == {5: "Old."}, "the article has an abstract, and this is the last that we hold of it"


def test_a_lock_that_stays_on_the_id_space_is_an_error(
    load: Any, database: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module, "LOCK_TIMEOUT", "200ms")
    with connect(database_url) as other, other.transaction():
        other.execute("LOCK TABLE sum_assets.corpus_id_space")
        database.execute("SET statement_timeout = '30s'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            load("csv", "5,Text.,1")
    assert texts(database) == {}
