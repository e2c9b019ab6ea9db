"""What runs made of the same abstracts under different fingerprints, side by side: library, command and asset."""

from collections.abc import Callable
from typing import cast

import dagster as dg
import pytest
from psycopg import Connection

from sum_assets.benchmark.compare_fingerprints import compare_fingerprints
from sum_assets.database.reconnect import open_database
from sum_assets.database.results import ResultStore
from sum_assets.defs.definitions import defs
from sum_assets.defs.instance import register_ranges
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.pipeline import summarize_range
from sum_assets.summarizer import GpuSettings, SummarizerSettings, resolve_settings
from sum_assets.summarizer.engines.lead_engine import LeadEngine
from sum_assets.summarizer.resolved_settings import LeadSettings

RANGE = IdRange(1, 40)
FULL, PILOT = "aa11aa11aa11aa11", "bb22bb22bb22bb22"


@pytest.fixture
def compared(database_url: str, database: Connection) -> Connection:
    """Forty abstracts that one fingerprint has, and another has in a pilot of ten with one text of its own."""
    database.execute(
        "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) "
        "SELECT i, format('Cell %s divides. We saw it. It was fast. It died.', i) FROM generate_series(1, 40) i"
    )
    settings = cast("LeadSettings", resolve_settings(GpuSettings(engine="lead"), SummarizerSettings()))
    with open_database(database_url) as opened:
        for fingerprint, precision, limit in ((FULL, "float32", None), (PILOT, "bfloat16", 10)):
            store = ResultStore(fingerprint, f"run of {precision}")
            opened.run(store.register, {"engine": "lead", "precision": precision, "sentences": 3})
            summarize_range(opened, RANGE, lambda: LeadEngine(settings), store, {}, limit=limit)
    database.execute(
        "UPDATE sum_assets.generated_summary SET summary = 'Nothing is alike here' WHERE fingerprint = %s "
        "AND abstract_id = (SELECT min(abstract_id) FROM sum_assets.generated_summary WHERE fingerprint = %s)",
        [PILOT, PILOT],
    )
    return database


def test_texts_are_compared_on_what_both_have(compared: Connection) -> None:
    found = compare_fingerprints(compared, RANGE)
    full, pilot = found.configurations
    assert (full.fingerprint, full.summarized, full.worked_rows) == (FULL, 40, 40)
    assert (pilot.fingerprint, pilot.summarized, pilot.worked_rows) == (PILOT, 10, 10)
    assert full.per_second
    assert found.reference == FULL
    quality = found.quality[PILOT]
    assert quality
    assert (quality.abstracts, quality.same) == (10, 0.9)
    results, differences, examples = found.sections()
    assert results.headings == ["fingerprint", FULL[:8], PILOT[:8]]
    assert {name: figures for name, *figures in results.rows}["same"] == ["", "90%"]
    assert differences.rows == [["precision", "float32", "bfloat16"]]
    assert [row[1] for row in examples.rows] == ["abstract", FULL[:8], PILOT[:8]] * 3


def test_an_abstract_that_was_edited_since_is_left_out(compared: Connection) -> None:
    compared.execute(
        "UPDATE sum_assets.corpus_abstract SET abstract = 'It was edited.' WHERE abstract_id = "
        "(SELECT max(abstract_id) FROM sum_assets.generated_summary WHERE fingerprint = %s)",
        [PILOT],
    )
    quality = compare_fingerprints(compared, None).quality[PILOT]
    assert quality
    assert quality.abstracts == 9


def test_the_reference_is_what_is_published_or_named(compared: Connection) -> None:
    compared.execute(
        "INSERT INTO sum_assets.abstract_summary (abstract_id, summary, source_hash, fingerprint, run_id) "
        "SELECT abstract_id, summary, source_hash, fingerprint, run_id FROM sum_assets.generated_summary "
        "WHERE fingerprint = %s",
        [PILOT],
    )
    assert compare_fingerprints(compared, None).reference == PILOT
    assert compare_fingerprints(compared, None, ["bb"], "aa").reference == FULL


def test_what_cannot_be_compared_is_said(compared: Connection) -> None:
    with pytest.raises(UserError, match=r"1 configuration has results in the corpus. Two are needed: run the job"):
        compare_fingerprints(compared, None, ["aa"])
    with pytest.raises(UserError, match=rf"0 fingerprints begin with 'zz'. Those that have results here: {FULL}, "):
        compare_fingerprints(compared, None, ["zz"])
    with pytest.raises(UserError, match="0 configurations have results in the ID range"):
        compare_fingerprints(compared, IdRange(50, 60))


def test_the_command_and_the_asset_show_the_same(
    compared: Connection, instance: dg.DagsterInstance, run: Callable[..., tuple[int, str, str]]
) -> None:
    register_ranges(instance, [RANGE])
    code, output, _ = run("compare", "--range", RANGE.key)
    assert code == 0
    assert all(text in output for text in ("bfloat16", "90%", "Cell"))
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        {"ops": {"comparison": {"config": {"id_range": RANGE.key}}}},
        instance=instance,
        asset_selection=[dg.AssetKey("comparison")],
    )
    (event,) = result.get_asset_materialization_events()
    table = event.materialization.metadata["configurations"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [r.data[PILOT[:8]] for r in table.records if r.data["fingerprint"] == "same"] == ["90%"]
