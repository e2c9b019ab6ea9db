"""`ranges --hours`: ranges as large as take so long, at the rate that runs or the benchmark have measured."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from psycopg import Connection

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def corpus(database: Connection, instance: dg.DagsterInstance) -> Connection:
    database.execute(
        "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) "
        "SELECT i, 'Text ' || i FROM generate_series(1, 40) AS i"
    )
    return database


def test_ranges_take_the_hours_at_the_rate_of_the_latest_runs(run: Run, corpus: Connection, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("resources: {gpu: {config: {engine: lead}}}")
    run("ranges", "--rows", 10)
    keys = run("ranges")[1].split()
    assert run("materialize", keys[0], keys[1], "-c", config)[0] == 0
    corpus.execute("UPDATE sum_assets.range_run SET began_at = ended_at - interval '5 s'")  # two at once, 2/s each
    code, out, err = run("ranges", "--hours", 7 / 3600, "--reset", "--yes")
    assert code == 0, err
    (fingerprint,) = corpus.execute("SELECT fingerprint FROM sum_assets.summarizer_config").fetchone() or ("",)
    said, cut = out.splitlines()
    assert said == (
        f"2 abstracts/s, by runs over 2 ranges with fingerprint {fingerprint} (lead): 14 abstracts take 7 seconds"
    )
    assert cut.startswith("3 ID ranges added, 3 in all")  # of 40 abstracts, at most 14 in each
    assert len(run("ranges")[1].split()) == 3
    assert "0 ID ranges added" in run("ranges", "--hours", 1)[1], "without --reset, those in no range"


@pytest.mark.usefixtures("corpus")
def test_without_a_rate_it_says_what_measures_one(run: Run) -> None:
    code, out, err = run("ranges", "--hours", 1)
    assert (code, out) == (1, "")
    assert "No rate was measured to cut ranges by: `sum-assets benchmark` measures one, and so does any run." in err
    assert "No sweep is registered. Register one: `sum-assets sweep sweeps/cpu.yaml`." in err
    assert run("ranges")[1] == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hours", "1", "--rows", "9"), "Leave one of them out."),
        (("--hours", "0"), "--hours is more than 0, not 0."),
        (("--hours", "nan"), "--hours is more than 0, not nan."),
        (("--hours", "inf"), "--hours is more than 0, not inf."),
        (("--reset",), "--reset --rows N, or --reset --hours H."),
    ],
)
@pytest.mark.usefixtures("corpus")
def test_a_size_that_is_none_is_refused(run: Run, options: tuple[str, ...], message: str) -> None:
    code, _, err = run("ranges", *options)
    assert (code, message in err) == (1, True), err
