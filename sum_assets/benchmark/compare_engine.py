"""Compares an engine with transformers' own `generate` on abstracts of the corpus."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from psycopg import Connection

from sum_assets.benchmark.quality_gate import FEW, Bounds, compare, gate
from sum_assets.database.benchmark_results import (
    GateVerdict,
    SampleSummary,
    draw_sample,
    record_gate,
    titles_of,
)
from sum_assets.database.connection import connect
from sum_assets.database.engine_hangs import record_hang, suspects
from sum_assets.database.reconnect import Database
from sum_assets.database.results import ResultStore
from sum_assets.database.source import read_abstracts
from sum_assets.errors import DeviceLostError, UnsupportedError
from sum_assets.summarizer import Abstract, Phases, Rejection, Summarizer, Summary, open_summarizer
from sum_assets.summarizer.device_errors import describe_error, is_device_lost
from sum_assets.summarizer.devices import free_memory
from sum_assets.summarizer.isolate_failures import summarize_each
from sum_assets.summarizer.model_files import load_tokenizer
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.plain_generate import PlainSummary, plain_generate, spells_special_token
from sum_assets.summarizer.prompts import open_encoder
from sum_assets.summarizer.thoughts import ThoughtFilter

#: Abstracts to compare on: of the reference with itself, and of another engine with it. The second number is what the
#: bounds ask for (docs/explanation/quality-gate.md).
OWN_SAMPLE, SAMPLE = 8, 32
_GENERATE = "transformers' own `generate`"


def judge(
    database: Database,
    resolved: ModelSettings,
    store: ResultStore,
    open_engine: Callable[[], Summarizer],
    phases: Phases,
    log: Callable[[str], object],
) -> GateVerdict | None:
    """Compare, record the verdict and return it; None where the corpus holds no abstract to compare on."""
    started = time.monotonic()
    reference = replace(resolved, precision="float32", quantization="none", attention=None)
    if not resolved.spec.gated:
        reference = resolved  # so that what differs is the decoding alone
    abstracts, titles = database.run(_sample, resolved, store, SAMPLE if resolved.spec.gated else OWN_SAMPLE)
    if not abstracts:
        return None
    log(
        f"engine {resolved.engine}: its summaries of {len(abstracts)} abstracts are compared first, this once, with "
        f"those of {_GENERATE} in {reference.precision}"
    )
    plain = _without_thoughts(reference, _plain(reference, abstracts, open_engine))
    if len(resolved.worker_devices) > 1:  # one is enough, and the counts of several are those of the run
        engine = open_summarizer(replace(resolved, devices=resolved.devices[:1], workers_per_device=1))
    else:
        with phases("load_model"):
            engine = open_engine()
    written = _written(database, store, engine, list(abstracts.values()))
    loud = [r for r in written.values() if isinstance(r, Rejection) and r.reason != "empty_summary"]
    for rejection in loud:  # it is no silent difference
        del written[rejection.abstract_id]
    if not written:
        raise UnsupportedError(
            f"engine {resolved.engine} rejects all of the {len(abstracts)} abstracts that it is judged by. The first "
            f"is {loud[0].abstract_id}: {loud[0].reason}: {loud[0].detail}"
        )

    def different() -> list[int]:
        return [i for i in abstracts if i in written and _text(written[i]) != plain[i].text]

    cut = [Abstract(i, plain[i].read) for i in different() if plain[i].read != abstracts[i].text]
    if cut:  # what was cut off may differ by the end of a word; the summary of what was left may not
        written |= _written(database, store, engine, cut)
    del engine
    free_memory(resolved.device)
    verdict = _verdict(reference, resolved.spec.gated, abstracts, titles, plain, written, different())
    verdict.quality["seconds"] = round(time.monotonic() - started, 1)
    database.run(record_gate, resolved.fingerprint, resolved.engine, verdict)
    return verdict


def _sample(
    connection: Connection, resolved: ModelSettings, store: ResultStore, rows: int
) -> tuple[dict[int, Abstract], dict[int, str | None]]:
    """Return abstracts, and their titles where known.

    Left out are those that the engine may have hung on, and those that spell a special token, which `generate` would
    take for one.
    """
    ids = draw_sample(connection, 2 * rows)
    left_out = suspects(connection, store, ids)
    read = {a.abstract_id: a for a in read_abstracts(connection, [i for i in ids if i not in left_out])}
    usable = [i for i in ids if i in read]
    special = spells_special_token(resolved, [read[i].text for i in usable])
    chosen = [i for i, spells in zip(usable, special, strict=True) if not spells][:rows]
    titles = titles_of(connection, chosen)
    known = {i: title for i, (text, title) in titles.items() if text == read[i].text}
    return {i: read[i] for i in chosen}, {i: known.get(i) for i in chosen}


def _plain(
    reference: ModelSettings, abstracts: dict[int, Abstract], open_engine: Callable[[], Summarizer]
) -> dict[int, PlainSummary]:
    """Return what plain `generate` writes. It is loaded first and freed, since a device may not hold it twice."""
    texts = [abstract.text for abstract in abstracts.values()]
    try:
        if reference.ray_address:
            from sum_assets.summarizer.parallel.ray_plain_generate import plain_generate_on_ray

            return dict(zip(abstracts, plain_generate_on_ray(reference, texts), strict=True))
        return dict(zip(abstracts, plain_generate(reference, texts), strict=True))
    except Exception as error:
        if is_device_lost(error):
            raise DeviceLostError(f"The device is lost to this process: {describe_error(error)}.") from error
        failure = describe_error(error)  # not the error itself, which references the model
    open_engine()  # where the model is to blame, it says so in a sentence
    raise UnsupportedError(
        f"engine {reference.engine} cannot be compared with {_GENERATE} in {reference.precision}, which fails: "
        f"{failure}. A pilot (`limit`) is not compared."
    )


def _without_thoughts(reference: ModelSettings, plain: dict[int, PlainSummary]) -> dict[int, PlainSummary]:
    """Cut off the thoughts that a run would cut off."""
    tokenizer = load_tokenizer(reference.files)
    encoder = open_encoder(tokenizer, reference.settings, encoder_decoder=reference.encoder_decoder)
    cut = ThoughtFilter(tokenizer, encoder.template, encoder.closing, "cut")
    texts = {i: cut(summary.ids, summary.text) for i, summary in plain.items()}
    return {
        i: replace(summary, text=text.strip()) if isinstance(text := texts[i], str) else summary
        for i, summary in plain.items()
    }


def _written(
    database: Database, store: ResultStore, engine: Summarizer, abstracts: Sequence[Abstract]
) -> dict[int, Summary | Rejection]:
    """Return what the engine makes of abstracts. If it hangs, the next process leaves them out."""
    by_id = {abstract.abstract_id: abstract for abstract in abstracts}

    def on_hang(ids: list[int]) -> None:
        with connect(database.url) as connection:
            record_hang(connection, store, [by_id[i] for i in ids])

    lists = summarize_each(engine, abstracts, Phases(), on_hang)
    return {result.abstract_id: result for results in lists for result in results}


def _verdict(
    reference: ModelSettings,
    gated: bool,
    abstracts: dict[int, Abstract],
    titles: dict[int, str | None],
    plain: dict[int, PlainSummary],
    written: dict[int, Summary | Rejection],
    different: list[int],
) -> GateVerdict:
    def row(i: int, text: str, tokens: int, capped: bool) -> SampleSummary:
        return SampleSummary(i, text, capped, tokens, abstracts[i].text, titles[i])

    limit = reference.settings.max_output_tokens
    judged = {i: row(i, "", 0, False) for i in written} | {
        i: row(i, r.text, r.input_tokens, r.finish_reason == "length")
        for i, r in written.items()
        if isinstance(r, Summary)
    }
    expected = {i: row(i, plain[i].text, plain[i].input_tokens, len(plain[i].ids) >= limit) for i in written}
    quality, itself = compare(judged, expected), compare(expected, expected)
    assert quality
    assert itself
    exact = not gated and reference.precision == "float32" and not reference.quantized
    reason = ""
    if exact and different:
        reason = f"{len(different)} of {len(written)} texts differ"
    elif not exact:
        reason = gate(quality, itself, Bounds() if gated else FEW).reason
    if reason and different:
        first = different[0]
        reason += (
            f"; the first that differs is that of abstract {first}: {_text(written[first])[:80]!r}, "
            f"not {plain[first].text[:80]!r}"
        )
    named = f"{'transformers' if gated else _GENERATE} in {reference.precision}"
    if reference.quantized:
        named += f" with {reference.quantization_in_force}"
    return GateVerdict(not reason, reason, {**quality.as_json(), "reference": named})


def _text(result: Summary | Rejection) -> str:
    return result.text if isinstance(result, Summary) else ""
