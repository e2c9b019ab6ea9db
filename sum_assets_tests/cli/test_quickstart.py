"""From a user's table to a report and a run configuration in one command, and what it refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from psycopg import connect

from sum_assets.cli import benchmark
from sum_assets.errors import UserError
from sum_assets.paths import URL_VARIABLE
from sum_assets.summarizer.user_settings import CAUSAL_PROMPT, DEFAULT_PROMPT
from sum_assets_tests.tiny_models import save_causal, save_untrained_bart, save_untrained_t5, sentence

Run = Callable[..., tuple[int, str, str]]
SOURCE = ("--source", "public.abstracts", "--id-column", "pmc_id")


@pytest.fixture
def folder(empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty database but for the user's table, and a folder with a small sweep and the model's file."""
    with connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE abstracts (pmc_id varchar PRIMARY KEY, abstract text)")
        rows = [(f"PMC{i}", sentence(i, 12)) for i in range(100, 420)]
        connection.cursor().executemany("INSERT INTO abstracts VALUES (%s, %s)", rows)
    presets = {"small": {"batch_size": 4}}
    sweep = {"sample": 4, "baseline_sample": 2, "warm_up": 0, "replicates": 1, "presets": presets}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    save_untrained_t5(tmp_path / "t5")
    settings = {"model": str(tmp_path / "t5"), "max_input_tokens": 64, "max_output_tokens": 16}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"resources": {"summarizer": {"config": settings}}}))
    monkeypatch.setenv(URL_VARIABLE, empty_database_url)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_from_a_table_to_a_configuration_and_again(run: Run, folder: Path, empty_database_url: str) -> None:
    words = ("quickstart", *SOURCE, "-c", "tiny.yaml", "--sweep", "sweep.yaml")
    code, out, err = run(*words)
    assert code == 0, err
    for command in ("doctor -c tiny.yaml", "init --source", "ranges --rows 32", "materialize 0", "sweep", "benchmark"):
        assert f"$ sum-assets {command}" in out
    assert out.count("Summary:") == 3
    assert "$ sum-assets backfill -c run.yaml" in out
    configuration = (folder / "run.yaml").read_text()
    counts = (
        "SELECT (SELECT count(*) FROM sum_assets.generated_summary), "
        "(SELECT count(*) FROM sum_assets.abstract_summary), (SELECT count(*) FROM sum_assets.benchmark_result), "
        "(SELECT count(*) FROM sum_assets.id_range)"
    )
    with connect(empty_database_url) as connection:
        before = connection.execute(counts).fetchone()
    assert before is not None
    assert before[:2] == (32, 0)

    code, out, err = run(*words)
    assert code == 0, err
    assert (out.count("(measured before)") + err.count("(measured before)")) == 3
    with connect(empty_database_url) as connection:
        assert connection.execute(counts).fetchone() == before
    assert (folder / "run.yaml").read_text() == configuration


@pytest.fixture
def _no_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop after the pilot."""

    def stop(*_: object) -> None:
        raise UserError("stopped")

    monkeypatch.setattr(benchmark, "sweep", stop)


@pytest.mark.usefixtures("_no_benchmark")
def test_a_model_by_its_name_alone(run: Run, folder: Path) -> None:
    """Its prompt fits its kind and is printed; the pilot shows its progress; advice comes once."""
    save_causal(folder / "llama", positions=1024)
    words = ("quickstart", *SOURCE, "--sweep", "sweep.yaml", "--model", "llama")
    code, out, err = run(*words)
    assert (code, err.endswith("stopped\n")) == (1, True), err
    assert f"model llama, prompt: {CAUSAL_PROMPT!r}" in out
    settings = {"model": "llama", "prompt": CAUSAL_PROMPT}
    assert yaml.safe_load((folder / "model.yaml").read_text()) == {"resources": {"summarizer": {"config": settings}}}
    assert "Not set up yet" in out
    assert not re.search("FAIL (?!port)", out), "another program may have the UI's port"
    assert "32 of 32, " in err
    assert " abstracts/s" in err
    assert (out + err).count("CREATE INDEX") == 1

    code, out, err = run(*words)
    assert (code, "summarized before" in err) == (1, True), err
    assert (out + err).count("CREATE INDEX") == 1, "doctor's own, this time"

    path = folder / "model.yaml"
    edited = path.read_text().replace("plain language", "Finnish")
    path.write_text(edited)
    code, out, err = run(*words)
    assert (code, out, path.read_text()) == (1, "", edited)
    assert "quickstart writes model.yaml, and the one in this folder is yours, or was changed since" in err


@pytest.mark.usefixtures("_no_benchmark")
def test_a_model_that_was_trained_without_an_instruction_gets_none(
    run: Run, folder: Path, empty_database_url: str
) -> None:
    save_untrained_bart(folder / "bart")
    code, out, err = run("quickstart", *SOURCE, "--sweep", "sweep.yaml", "--model", "bart")
    assert (code, err.endswith("stopped\n")) == (1, True), err
    assert "model bart, prompt: none\n" in out
    settings = {"model": "bart", "prompt": ""}
    assert yaml.safe_load((folder / "model.yaml").read_text()) == {"resources": {"summarizer": {"config": settings}}}
    with connect(empty_database_url) as connection:
        recorded = connection.execute("SELECT settings->>'prompt' FROM sum_assets.summarizer_config").fetchall()
    assert recorded == [("",)]


@pytest.mark.usefixtures("_no_benchmark")
@pytest.mark.parametrize("kind", ["causal", "bart"])
def test_a_model_with_the_prompt_of_another_is_warned_of(run: Run, folder: Path, kind: str) -> None:
    save, fitting = {"causal": (save_causal, CAUSAL_PROMPT), "bart": (save_untrained_bart, "")}[kind]
    save(folder / "own")
    settings = {"model": "own", "max_input_tokens": 64, "max_output_tokens": 16}
    (folder / "own.yaml").write_text(yaml.safe_dump({"resources": {"summarizer": {"config": settings}}}))
    _, out, err = run("quickstart", *SOURCE, "--sweep", "sweep.yaml", "-c", "own.yaml")
    assert f"model own, prompt: {DEFAULT_PROMPT!r}" in out
    assert f"Another model needs its own in own.yaml: `prompt: {json.dumps(fitting)}`." in " ".join(err.split())
    assert not (folder / "model.yaml").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--source", "public.absent"), "public.absent"),
        (("--source", "public.abstracts", "--id-column", "absent"), "absent"),
        ((*SOURCE, "--model", "/absent/model"), "/absent/model"),
        ((*SOURCE, "--sweep", "absent.yaml"), "absent.yaml"),
        ((*SOURCE, "--model", "m", "-c", "tiny.yaml"), "both name the model"),
    ],
    ids=["table", "column", "model", "sweep", "two models"],
)
def test_a_mistake_writes_no_file(run: Run, folder: Path, words: tuple[str, ...], message: str) -> None:
    before = sorted(path.name for path in folder.iterdir())
    tiny = () if "--model" in words else ("-c", "tiny.yaml")
    code, out, err = run("quickstart", *words, *tiny)
    assert (code, message in out + err) == (1, True), err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_file_of_the_users_own_stays(run: Run, folder: Path) -> None:
    (folder / "run.yaml").write_text("resources: {}\n")
    code, out, err = run("quickstart", *SOURCE)
    assert (code, out) == (1, "")
    assert "quickstart writes run.yaml, and the one in this folder is yours" in err
    assert (folder / "run.yaml").read_text() == "resources: {}\n"
