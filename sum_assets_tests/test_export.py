"""What is exported is what is published, whenever it is exported again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from psycopg import Connection
from pyarrow import csv, parquet

from sum_assets.defs.instance import register_ranges
from sum_assets.export import COLUMNS, MANIFEST
from sum_assets.id_range import IdRange

FIRST, SECOND = IdRange(1, 10), IdRange(11, 20)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def published(database: Connection, instance: dg.DagsterInstance, run: Run, tmp_path: Path) -> Connection:
    """Two ranges that are published, and some texts that make files hard to write."""
    texts = {1: 'Says "quote", and comma.', 2: "Zeile\neins ü. Zwei.", 3: "=1+1. Two.", 12: "Twelve. Ids.", 13: " "}
    for abstract_id, text in texts.items():
        database.execute(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, %s)", [abstract_id, text]
        )
    register_ranges(instance, [FIRST, SECOND])
    (tmp_path / "run.yaml").write_text("resources: {gpu: {config: {engine: lead}}}")
    assert run("materialize", FIRST.key, SECOND.key, "-c", tmp_path / "run.yaml")[0] == 0
    return database


def read(folder: Path) -> dict[int, dict[str, Any]]:
    rows = []
    for path in folder.iterdir():
        if path.suffix == ".parquet":
            rows += parquet.read_table(path).to_pylist()
        elif path.suffix == ".csv":
            kinds = {field.name: field.type for field in COLUMNS}
            options = csv.ConvertOptions(column_types=kinds, strings_can_be_null=True, quoted_strings_can_be_null=False)
            parsing = csv.ParseOptions(newlines_in_values=True)
            rows += csv.read_csv(path, parse_options=parsing, convert_options=options).to_pylist()
        elif path.name != MANIFEST:
            rows += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len({row["abstract_id"] for row in rows})
    return {row["abstract_id"]: row for row in rows}


@pytest.mark.parametrize("file_format", ["parquet", "jsonl", "csv"])
def test_all_that_is_published_is_in_the_files(
    published: Connection, run: Run, tmp_path: Path, file_format: str
) -> None:
    code, out, err = run("export", tmp_path / "out", "--format", file_format)
    assert (code, "4 summaries and 1 rejected abstract of 2 ID ranges" in out) == (0, True), err
    rows = read(tmp_path / "out")
    stored = published.execute(
        "SELECT abstract_id, summary, fingerprint, encode(source_hash, 'hex'), run_id FROM sum_assets.abstract_summary"
    ).fetchall()
    names = ("abstract_id", "summary", "fingerprint", "source_hash", "run_id")
    assert sorted(tuple(row[name] for name in names) for row in rows.values() if row["summary"] is not None) == sorted(
        stored
    )
    assert (rows[13]["summary"], rows[13]["rejection"]) == (None, "blank")
    assert rows[1]["rejection"] is None
    assert rows[1]["input_truncated"] is False
    assert "20" in str(rows[1]["published_at"])


def test_an_export_goes_on_and_follows_what_is_published(published: Connection, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert run("export", folder)[0] == 0
    first, second = (folder / f"{id_range.key}.parquet" for id_range in (FIRST, SECOND))
    before = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    assert run("export", folder)[0] == 0
    assert (first.stat().st_mtime_ns, second.stat().st_mtime_ns) == before, "nothing has changed"
    published.execute("UPDATE sum_assets.corpus_abstract SET abstract = 'New. Text.' WHERE abstract_id = 12")
    assert run("materialize", SECOND.key, "-c", tmp_path / "run.yaml")[0] == 0
    second.with_suffix(".parquet.partial").write_bytes(b"of a crash")
    with (folder / MANIFEST).open("a") as manifest:
        manifest.write('{"file": "half a li')
    assert run("export", folder)[0] == 0
    assert first.stat().st_mtime_ns == before[0]
    assert read(folder)[12]["summary"] == "New. Text."
    first.unlink()
    assert run("export", folder)[0] == 0
    assert set(read(folder)) == {1, 2, 3, 12, 13}
    assert run("unpublish", "--range", SECOND.key, "--yes")[0] == 0
    code, _, err = run("export", folder)
    assert (code, "1 ID range has nothing published, and no file" in err) == (0, True), err
    assert set(read(folder)) == {1, 2, 3}


def test_what_is_in_no_range_or_another_folder_is_named(
    published: Connection, instance: dg.DagsterInstance, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    assert run("export", folder, "--range", FIRST.key)[0] == 0
    assert set(read(folder)) == {1, 2, 3}
    code, _, err = run("export", folder, "--format", "csv")
    assert (code, "that no export in the format csv wrote" in err) == (1, True), err
    instance.delete_dynamic_partition("id_range", FIRST.key)
    code, _, err = run("export", folder)
    assert (code, "3 published summaries are in no ID range, and in no file" in err) == (1, True), err
    assert set(read(folder)) == {12, 13}
    (folder / "mine.txt").write_text("mine")
    code, _, err = run("export", folder)
    assert (code, "holds 1 file that no export in the format parquet wrote, the first mine.txt" in err) == (1, True)
    (tmp_path / "file").write_text("")
    code, _, err = run("export", tmp_path / "file")
    assert (code, "cannot be written" in err) == (1, True), err


def test_the_files_of_a_large_range_are_written_in_batches(
    published: Connection, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sum_assets.export.BATCH", 2)
    assert run("export", tmp_path / "out")[0] == 0
    assert parquet.ParquetFile(tmp_path / "out" / f"{FIRST.key}.parquet").num_row_groups == 2
    assert set(read(tmp_path / "out")) == {1, 2, 3, 12, 13}
