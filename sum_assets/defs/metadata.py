"""Turns a range's report into the metadata of its materialization."""

import dagster as dg

from sum_assets.database.verify import RangeState
from sum_assets.pipeline import RangeReport
from sum_assets.range_report import report_text
from sum_assets.units import LAB_CORPUS

_TABLE_SUMMARY_CHARACTERS = 1000


def report_metadata(
    report: RangeReport, corpus_rows: int, state: RangeState, outages: tuple[int, float]
) -> dict[str, dg.MetadataValue]:
    """Return numbers under stable names for the plots, and text and tables to read.

    Rates and what follows from them describe what this run generated, and are left out where that is
    nothing. `state` is the range after the run; `outages` says how often the database was away, for how many
    seconds in all.
    """
    numbers: dict[str, float | int | None] = {
        "abstracts_per_second": report.per_second,
        "generated_tokens_per_second": report.tokens_per_second,
        "seconds_per_abstract_p50": report.latency(50),
        "seconds_per_abstract_p95": report.latency(95),
        "summarized": report.summarized,
        "rejected": sum(report.rejected.values()),
        "truncated_inputs": report.truncated,
        "capped_outputs": report.capped,
        "input_tokens": report.input_tokens,
        "output_tokens": report.output_tokens,
        "seconds_total": report.seconds,
        **{f"seconds_{phase}": seconds for phase, seconds in report.phases.items()},
        "batch_size": report.engine.batch_size if report.engine else None,
        "out_of_memory": report.engine.out_of_memory if report.engine else None,
        "peak_process_mib": report.peak_process_bytes // 2**20,
        "peak_device_mib": report.engine.peak_device_bytes // 2**20
        if report.engine and report.engine.peak_device_bytes is not None
        else None,
        "hours_for_this_corpus": _hours(report.days(corpus_rows)),
        "days_for_this_corpus": report.days(corpus_rows),
        "days_for_3_68_million": report.days(LAB_CORPUS),
        "dagster/partition_row_count": state.summarized,
        "pending": state.pending,
    }
    metadata: dict[str, dg.MetadataValue] = {
        "report": dg.MetadataValue.md(f"```\n{report_text(report, corpus_rows)}\n```")
    }
    metadata |= {
        name: dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(float(f"{value:.4g}"))
        for name, value in numbers.items()
        if value is not None
    }
    metadata["fingerprint"] = dg.MetadataValue.text(report.fingerprint)
    metadata["settings"] = dg.MetadataValue.json(report.settings)
    metadata["phases"] = dg.MetadataValue.table(
        [
            dg.TableRecord({"phase": phase, "seconds": round(s, 3), "percent": round(100 * s / report.seconds, 1)})
            for phase, s in report.phases.items()
        ]
    )
    if workers := report.engine.workers if report.engine else ():
        metadata["workers"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "worker": worker.name,
                        "busy_percent": round(100 * worker.busy, 1),
                        "rows": worker.rows,
                        "rows_per_second": round(worker.rows / worker.total_seconds, 3) if worker.rows else 0.0,
                        "restarts": worker.restarts,
                        "quarantined": worker.quarantined or "",
                    }
                )
                for worker in workers
            ]
        )
        metadata["workers_busy"] = dg.MetadataValue.float(round(sum(w.busy for w in workers) / len(workers), 3))
        metadata["workers_quarantined"] = dg.MetadataValue.int(sum(w.quarantined is not None for w in workers))
    if report.rejected:
        metadata["rejected_by_reason"] = dg.MetadataValue.json(report.rejected)
    if outages[0]:
        metadata["database_outages"] = dg.MetadataValue.int(outages[0])
        metadata["seconds_database_away"] = dg.MetadataValue.float(round(outages[1], 1))
    if report.engine:
        metadata["device_name"] = dg.MetadataValue.text(report.engine.device_name)
    if report.examples:
        metadata["examples"] = dg.MetadataValue.table(
            [
                dg.TableRecord({"abstract_id": i, "abstract": text[:_TABLE_SUMMARY_CHARACTERS], "summary": summary})
                for i, text, summary in report.examples
            ]
        )
    return metadata


def _hours(days: float | None) -> float | None:
    return None if days is None else days * 24
