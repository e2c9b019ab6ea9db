"""Loading into a real PostgreSQL: what is stored, what is not, and what a failure leaves behind."""

import csv
import gzip
import io
import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from pyarrow import parquet

from sum_assets.database.range_count import count_range, recorded_counts
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.ingest.load import LoadReport, load_file
from sum_assets.ingest.records import ReaderOptions

VERSIONED = ReaderOptions(version_column="version")


def stored(database: Connection) -> list[tuple[Any, ...]]:
    """All there is to a row, with the transaction that wrote it."""
    query = "SELECT abstract_id, title, abstract, version, loaded_at, xmin::text FROM sum_assets.corpus_abstract"
    return sorted(database.execute(query).fetchall())


def written(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["abstract_id,title,abstract,version", *rows, ""]))
    return path


LOAD_AND_MEASURE = """
import dataclasses, json, pathlib, sys, psutil
from sum_assets.database import connection as database
from sum_assets.ingest import load

process = psutil.Process()
before = process.memory_info().rss
growth, progress = [], []

def on_progress(count):
    growth.append(process.memory_info().rss - before)
    progress.append(count)

with database.connect() as connection:
    report = load.load_file(connection, pathlib.Path(sys.argv[1]), on_progress=on_progress)
print(json.dumps([dataclasses.asdict(report), max(growth) / 2**20, progress]))
"""


def test_pubmed_twice_changes_nothing(database: Connection, pubmed_file: Path) -> None:
    """The first time in a process of its own, since one that has just freed memory grows into that unseen."""
    command = [sys.executable, "-c", LOAD_AND_MEASURE, str(pubmed_file)]
    fields, growth, progress = json.loads(subprocess.check_output(command))
    first = LoadReport(**fields)
    ids = 18_445 - 5  # 3 PMIDs come in 4, 2 and 2 versions
    assert first == LoadReport(20_808, ids, 0, 0, {"no_abstract": 2_343}, first.examples, repeated=5, deletions=20)
    assert [len(wheres) for wheres in first.examples.values()] == [5]
    assert growth < 30  # MiB; the XML is 222, its rows are 40
    assert progress == sorted(progress)
    assert len(set(progress)) > 100
    assert progress[-1] == pubmed_file.stat().st_size

    rows = stored(database)
    assert len(rows) == ids
    newest = {row[0]: row for row in rows}
    assert newest[34017925][1].startswith("luox: novel validated")
    assert newest[30271887][3] == 4_20210607

    second = load_file(database, pubmed_file)
    assert second == LoadReport(20_808, 0, 0, ids, {"no_abstract": 2_343}, first.examples, repeated=5, deletions=20)
    assert stored(database) == rows


def test_newest_version_wins_in_any_order(database: Connection, tmp_path: Path) -> None:
    files = [written(tmp_path / f"{version}.csv", f"1,,text {version},{version}") for version in (1, 2, 3)]
    for order in itertools.permutations(files):
        database.execute("TRUNCATE sum_assets.corpus_abstract")
        reports = [load_file(database, path, VERSIONED) for path in order]
        assert [row[2:4] for row in stored(database)] == [("text 3", 3)]
        records = list(itertools.accumulate(order, max))  # the newest until then
        changes = [1, *[int(later != earlier) for earlier, later in itertools.pairwise(records)]]
        assert [report.inserted + report.updated for report in reports] == changes
    together = written(tmp_path / "together.csv", "1,,text 5,5", "1,,text 6,6", "1,,text 4,4", "2,,other,0")
    assert load_file(database, together, VERSIONED) == LoadReport(4, 1, 1, 0, {}, {}, repeated=2)
    assert [row[:4] for row in stored(database)] == [(1, None, "text 6", 6), (2, None, "other", 0)]


def test_last_read_of_one_version_wins(database: Connection, tmp_path: Path) -> None:
    load_file(database, written(tmp_path / "a.csv", "1,T,one,1", "1,U,two,1", "1,V,three,1"), VERSIONED)
    assert [row[:4] for row in stored(database)] == [(1, "V", "three", 1)]
    report = load_file(database, written(tmp_path / "b.csv", "1,V,two,1"), VERSIONED)
    assert report == LoadReport(1, 0, 1, 0, {}, {})
    assert [row[:4] for row in stored(database)] == [(1, "V", "two", 1)]
    for changed in ("1,W,two,1", "1,W,two,2"):  # the title alone, the version alone
        assert load_file(database, written(tmp_path / "c.csv", changed), VERSIONED).updated == 1


def test_files_of_several_formats_meet_in_one_table(database: Connection, pubmed_file: Path, tmp_path: Path) -> None:
    articles = sorted(pubmed_file.parent.glob("*.nxml"))
    assert [load_file(database, path).inserted for path in articles] == [1] * 8
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"abstract_id": [3166277, 1], "abstract": ["new", "first"]}), path)
    with pytest.raises(UserError, match=r"the corpus has PMC IDs: .* If these are PMC IDs too, add --id-space pmc"):
        load_file(database, path)
    report = load_file(database, path, ReaderOptions(id_space="pmc"))
    assert report == LoadReport(2, 1, 1, 0, {}, {})
    assert len(stored(database)) == 9


def test_reasons_are_counted_with_examples(database: Connection, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"abstract_id,abstract\n" + b"1,\n" * 7 + b"2,a\0\nx,a\n3,\xed\xa0\x80\n4,good\n")
    report = load_file(database, path)
    assert report.skipped == {"no_abstract": 7, "nul_character": 1, "bad_id": 1, "lone_surrogate": 1}
    assert report.examples["no_abstract"] == [f"row {row}" for row in range(1, 6)]
    assert report.examples["bad_id"] == ["row 9, ID 'x'"]
    assert (report.read, report.inserted) == (11, 1)


def test_a_file_without_titles_keeps_the_stored_ones(database: Connection, tmp_path: Path) -> None:
    load_file(database, written(tmp_path / "a.csv", "1,T,one,0", "2,U,two,0", "3,,three,0"))
    path = tmp_path / "corrections.csv"
    path.write_text("abstract_id,abstract\n1,one\n2,corrected\n3,three\n4,new\n")
    assert load_file(database, path) == LoadReport(4, 1, 1, 2, {}, {})
    assert [row[1:3] for row in stored(database)] == [("T", "one"), ("U", "corrected"), (None, "three"), (None, "new")]
    assert load_file(database, path) == LoadReport(4, 0, 0, 4, {}, {})
    path = tmp_path / "corrections.jsonl"
    path.write_text('{"abstract_id": 1, "abstract": "again"}\n{"abstract_id": 2, "abstract": "corrected"}\n')
    assert load_file(database, path) == LoadReport(2, 0, 1, 1, {}, {})
    load_file(database, written(tmp_path / "a.csv", "1,,again,0"))  # a title that is empty is none
    assert [row[1:3] for row in stored(database)][:2] == [(None, "again"), ("U", "corrected")]


def damaged(pubmed_file: Path, tmp_path: Path) -> dict[str, Path]:
    """Files whose first records are good."""
    cut = tmp_path / "cut.xml.gz"
    cut.write_bytes(pubmed_file.read_bytes()[:2_000_000])
    with gzip.open(pubmed_file) as stream:
        head = stream.read(1_000_000)
    broken = tmp_path / "broken.xml"
    broken.write_bytes(head + b"</oops>")
    table = written(tmp_path / "late.csv", *[f"{row},,text,0" for row in range(1, 5_000)], "5000,,a,b,c")
    return {"cut": cut, "broken": broken, "late": table}


@pytest.mark.parametrize("which", ["cut", "broken", "late"])
def test_damaged_file_loads_nothing(database: Connection, pubmed_file: Path, tmp_path: Path, which: str) -> None:
    load_file(database, written(tmp_path / "good.csv", "1,,kept,0"))
    rows = stored(database)
    path = damaged(pubmed_file, tmp_path)[which]
    with pytest.raises(UserError, match=str(path)):
        load_file(database, path)
    assert stored(database) == rows
    assert load_file(database, written(tmp_path / "good.csv", "2,,next,0")).inserted == 1


def test_missing_file_and_folder(database: Connection, tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match=f"Cannot open {path}"):
            load_file(database, path)


def test_stopped_load_leaves_nothing(database: Connection, pubmed_file: Path) -> None:
    def stop(count: int) -> None:
        if count > 3_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_file(database, pubmed_file, on_progress=stop)
    assert stored(database) == []


@pytest.mark.parametrize("kept", [[], [3], [9_000]], ids=["empty", "below", "above"])
@pytest.mark.parametrize("order", ["ascending", "descending", "twice"])
def test_however_records_are_stored_the_corpus_is_the_same(
    database: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, kept: list[int]
) -> None:
    """New records in the order of their IDs are stored some pages at a time, others all at once."""
    monkeypatch.setattr("sum_assets.ingest.store.PAGES", 2)
    ids = list(range(5, 405))
    texts = {i: f"{i} text " + "x" * 200 for i in ids}
    listed = {"ascending": ids, "descending": ids[::-1], "twice": [*ids, ids[-1]]}[order]
    if kept:
        load_file(database, written(tmp_path / "kept.csv", *[f"{i},,kept,0" for i in kept]))
    progress: list[tuple[int, int]] = []
    path = written(tmp_path / "new.csv", *[f"{i},,{texts[i]},0" for i in listed])
    report = load_file(database, path, on_stored=lambda done, total: progress.append((done, total)))
    assert (report.inserted, report.repeated) == (len(ids), len(listed) - len(ids))
    assert {row[0]: row[2] for row in stored(database)} == texts | dict.fromkeys(kept, "kept")
    if order == "ascending":
        assert [done for done, _ in progress] == list(range(0, progress[0][1], 2))
        assert len(progress) > 5
    else:
        assert progress == [(0, 0)]
    again = load_file(database, path)
    assert (again.inserted, again.unchanged) == (0, len(ids))


def test_what_a_load_changes_is_to_be_counted_again(database: Connection, tmp_path: Path) -> None:
    ranges = [IdRange(1, 9), IdRange(10, 19), IdRange(15, 29), IdRange(30, 39)]
    load_file(database, written(tmp_path / "a.csv", "5,,a,0", "35,,a,0"))
    for rows, changed in (
        (["16,,new,0"], {1, 2}),
        (["16,,new,0", "5,,a,0"], set()),
        (["5,,other,0", "4,,new,0"], {0}),
        (["40,,new,0", "41,,new,0"], set()),
        (["9,,new,0", "10,,new,0"], {0, 1}),
    ):
        for id_range in ranges:
            count_range(database, id_range)
        load_file(database, written(tmp_path / "b.csv", *rows))
        assert {i for i, r in enumerate(ranges) if r not in recorded_counts(database)} == changed, rows


TEXT = st.text(st.one_of(st.characters(), st.sampled_from("\0\ud800\udfff\"'\\,;\t\r\n\v \u202eשع😀\ufeff\u2028NA.")))
RECORDS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8)


def to_csv(path: Path, rows: list[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([("abstract_id", "title", "abstract"), *[(n, *row) for n, row in enumerate(rows, 1)]])
    path.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))


def to_parquet(path: Path, rows: list[tuple[str, str]]) -> None:
    """As strings of Parquet, which nobody stops from holding bytes that are no UTF-8."""
    columns = [
        pa.array([text.encode("utf-8", "surrogatepass") for text in column]) for column in zip(*rows, strict=True)
    ]
    title, abstract = (pa.Array.from_buffers(pa.string(), len(rows), column.buffers()) for column in columns)
    table = pa.table({"abstract_id": range(1, len(rows) + 1), "title": title, "abstract": abstract})
    parquet.write_table(table, path)


def fate(abstract: str) -> str:
    if not abstract.strip():
        return "no_abstract"
    if "\0" in abstract:
        return "nul_character"
    return "lone_surrogate" if any("\ud800" <= character <= "\udfff" for character in abstract) else "stored"


@pytest.mark.parametrize(("write", "name"), [(to_csv, "a.csv"), (to_parquet, "a.parquet")])
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=RECORDS)
@example(rows=[("a\0b", "a\0b"), ("", "a\0c"), ("", "a"), ("\ud83d\ude00", "\ud83d\ude00"), (" ", "\x1c\u3000")])
def test_every_text_is_stored_exactly_or_counted(
    database: Connection, tmp_path: Path, write: Any, name: str, rows: list[tuple[str, str]]
) -> None:
    database.execute("TRUNCATE sum_assets.corpus_abstract")
    write(tmp_path / name, rows)
    report = load_file(database, tmp_path / name)
    fates = Counter(fate(abstract) for _, abstract in rows)
    kept = fates.pop("stored", 0)
    titles = Counter(fate(title) for title, abstract in rows if fate(abstract) == "stored" and title.strip())
    del titles["stored"]
    assert report == LoadReport(
        len(rows),
        kept,
        0,
        0,
        dict(fates),
        report.examples,
        titles_left_out=titles,
        title_examples=report.title_examples,
    )
    assert report.title_examples.keys() == titles.keys()
    assert [row[:3] for row in stored(database)] == [
        (number, title if fate(title) == "stored" else None, abstract)
        for number, (title, abstract) in enumerate(rows, 1)
        if fate(abstract) == "stored"
    ]
