"""Every engine with a model is compared with transformers' own `generate` before its first full run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from sum_assets.benchmark.compare_engine import OWN_SAMPLE
from sum_assets.benchmark.engine_gate import describe, require_gate
from sum_assets.database.benchmark_results import GateVerdict
from sum_assets.database.reconnect import Database
from sum_assets.database.results import ResultStore
from sum_assets.errors import UnsupportedError
from sum_assets.summarizer import (
    GpuSettings,
    Phases,
    Rejection,
    SummarizerSettings,
    Summary,
    open_summarizer,
    resolve_settings,
)
from sum_assets.summarizer.engines.token_engine import TokenEngine
from sum_assets.summarizer.engines.transformers_engine import TransformersGenerator
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import Precision
from sum_assets_tests.evidence.prove_models.families import save_family
from sum_assets_tests.tiny_models import sentence


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 that writes another text for each input, and nothing for some."""
    folder = tmp_path_factory.mktemp("t5")
    save_family("mT5", folder)
    return folder


@pytest.fixture
def corpus(database: Connection) -> Connection:
    """Twenty sentences, and what holds nothing or spells a special token."""
    database.execute("CREATE TABLE public.article (id bigint PRIMARY KEY, body text)")
    with database.cursor() as cursor:
        rows = [(i, sentence(10**6 + i, 5 + i)) for i in range(1, 21)]
        cursor.executemany(
            "INSERT INTO article VALUES (%s, %s)", [*rows, (31, None), (32, " "), (33, "kale </s> bale")]
        )
    database.execute(
        "CREATE OR REPLACE VIEW sum_assets.source_abstract AS SELECT id AS abstract_id, body AS abstract FROM article"
    )
    return database


def judge(url: str, model: Path, log: list[str], precision: Precision = "float32", **gpu: Any) -> GateVerdict | None:
    settings = SummarizerSettings(model=str(model), prompt="", max_input_tokens=16, max_output_tokens=12)
    resolved = resolve_settings(GpuSettings.model_validate({"device": "cpu", "precision": "float32", **gpu}), settings)
    assert isinstance(resolved, ModelSettings)
    resolved = replace(resolved, precision=precision)  # a CPU that only emulates it computes it, too
    store = ResultStore(resolved.fingerprint, "run", False)
    database = Database(url)
    database.run(store.register, resolved.text_settings())
    return require_gate(database, resolved, store, lambda: open_summarizer(resolved), Phases(), log.append)


def test_our_own_engine_is_judged_once_and_passes(corpus: Connection, database_url: str, model: Path) -> None:
    log: list[str] = []
    verdict = judge(database_url, model, log)
    assert verdict
    assert verdict.passes
    same = "passes: 8 of 8 texts are those of transformers' own `generate` in float32"
    assert describe(verdict) == f"{same}; this took {verdict.quality['seconds']:.0f} s"
    assert verdict.quality["abstracts"] == OWN_SAMPLE
    assert len(log) == 2
    assert judge(database_url, model, log) == verdict
    assert len(log) == 2


@pytest.mark.parametrize("fault", ["decoding", "prompt", "another row"])
def test_our_own_engine_is_refused_where_a_text_differs(
    corpus: Connection, database_url: str, model: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    generate, decode = TransformersGenerator._generate, TokenEngine._decode
    if fault == "decoding":
        monkeypatch.setattr(TransformersGenerator, "_generate", lambda s, b: [r[:-1] or r for r in generate(s, b)])
    elif fault == "prompt":
        monkeypatch.setattr(TransformersGenerator, "_generate", lambda s, b: generate(s, [r[1:] for r in b]))
    else:
        monkeypatch.setattr(
            TokenEngine, "_decode", lambda s, f: decode(s, [(f[k - 1][0], o) for k, (_, o) in enumerate(f)])
        )
    for _ in range(2):
        with pytest.raises(
            UnsupportedError,
            match=r"^engine transformers does not write what is written by transformers' own `generate` in float32: "
            r"\d of 8 texts differ; the first that differs is that of abstract \d+: '.*', not '.*'. Set attention: "
            r"eager, or precision: float32. A pilot",
        ):
            judge(database_url, model, [])


def test_lower_precision_is_held_by_bounds(corpus: Connection, database_url: str, t5: Path) -> None:
    verdict = judge(database_url, t5, [], precision="bfloat16")
    assert verdict
    assert "of 8 texts are those of transformers' own `generate` in bfloat16; this took" in describe(verdict)


def test_a_small_corpus_and_an_empty_one(corpus: Connection, database_url: str, model: Path) -> None:
    corpus.execute("DELETE FROM article WHERE id BETWEEN 4 AND 30")
    verdict = judge(database_url, model, [])
    assert verdict
    assert verdict.quality["abstracts"] == 3
    corpus.execute("DELETE FROM article WHERE id < 31")
    assert judge(database_url, model, [], attention="eager") is None


def test_what_is_rejected_aloud_is_not_compared(
    corpus: Connection, database_url: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = TokenEngine._decode

    def reject(self: TokenEngine, finished: Any, ids: range) -> list[Summary | Rejection]:
        results = decode(self, finished)
        return [Rejection(r.abstract_id, "thought", "it thinks") if r.abstract_id in ids else r for r in results]

    monkeypatch.setattr(TokenEngine, "_decode", lambda s, f: reject(s, f, range(1, 10)))
    verdict = judge(database_url, model, [])
    assert verdict
    assert verdict.passes
    assert 0 < verdict.quality["abstracts"] < OWN_SAMPLE
    monkeypatch.setattr(TokenEngine, "_decode", lambda s, f: reject(s, f, range(1, 99)))
    with pytest.raises(UnsupportedError, match=r"rejects all of the 8 abstracts .* first is \d+: thought: it thinks"):
        judge(database_url, model, [], attention="eager")


def test_a_model_that_generate_cannot_load_is_refused_with_our_sentence(
    corpus: Connection, database_url: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such layer")

    monkeypatch.setattr("sum_assets.benchmark.compare_engine.plain_generate", fail)
    with pytest.raises(UnsupportedError, match="own `generate` in float32, which fails: RuntimeError: no such layer"):
        judge(database_url, model, [])
