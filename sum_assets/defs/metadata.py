"""Turns what a run did for a range, and the status of the corpus, into the metadata of materializations."""

import time

import dagster as dg

from sum_assets.benchmark.section import Section
from sum_assets.database.corpus_status import CorpusStatus
from sum_assets.database.publish import Publication
from sum_assets.database.reconnect import Outages
from sum_assets.database.source_profile import FRACTIONS, Profile
from sum_assets.database.status import State
from sum_assets.database.verify import RangeState
from sum_assets.range_report import Outlook, RangeResult, render_range_report
from sum_assets.units import LAB_CORPUS

_TABLE_SUMMARY_CHARACTERS = 1000


def table_metadata(section: Section) -> dg.TableMetadataValue:
    """Return a table of a report."""
    return dg.MetadataValue.table(
        [dg.TableRecord(dict(zip(section.headings, row, strict=True))) for row in section.rows]
    )


def profile_metadata(profile: Profile) -> dict[str, int | float | str]:
    """Return the counts and lengths of a range of the source."""
    return {
        "dagster/partition_row_count": profile.rows,
        "repeated_ids": profile.rows - profile.ids,
        "null": profile.null_rows,
        "empty": profile.empty_rows,
        "blank": profile.blank_rows,
        "over_long": profile.over_long_rows,
        "characters_mean": round(profile.mean_characters, 1),
        **{
            f"characters_p{round(fraction * 100):02}": characters
            for fraction, characters in zip(FRACTIONS, profile.percentiles, strict=False)
        },
    }


def publication_metadata(publication: Publication, fingerprint: str | None) -> dict[str, int | str]:
    """Return what a publication changed."""
    return {
        "dagster/partition_row_count": publication.state.published,
        "fingerprint": fingerprint or "none",
        "source": publication.state.source,
        "rejected": publication.state.rejected,
        "written": publication.written,
        "withdrawn": publication.withdrawn,
    }


def range_metadata(
    result: RangeResult, outlook: Outlook, state: RangeState, outages: Outages
) -> dict[str, dg.MetadataValue]:
    """Return numbers under stable names for the plots, and text and tables to read.

    Rates and what follows from them describe what this run generated, and are left out where that is
    nothing. `state` is the range after the run.
    """
    own, lab = outlook.backfill(result), outlook.backfill(result, LAB_CORPUS)
    numbers: dict[str, float | int | None] = {
        "abstracts_per_second": result.per_second,
        "generated_tokens_per_second": result.tokens_per_second,
        "share_of_limit": result.share.value if result.share else None,
        "seconds_per_abstract_p50": result.latency(50),
        "seconds_per_abstract_p95": result.latency(95),
        "summarized": result.summarized,
        "rejected": sum(result.rejected.values()),
        "truncated_inputs": result.truncated,
        "capped_outputs": result.capped,
        "input_tokens": result.lengths.inputs,
        "output_tokens": result.lengths.outputs,
        "seconds_total": result.seconds,
        **{f"seconds_{phase}": seconds for phase, seconds in result.phases.items()},
        "batch_size": result.engine.batch_size if result.engine else None,
        "out_of_memory": result.engine.out_of_memory if result.engine else None,
        "peak_process_mib": result.peak_process_bytes // 2**20,
        "peak_device_mib": result.engine.peak_device_bytes // 2**20
        if result.engine and result.engine.peak_device_bytes is not None
        else None,
        "seconds_run_overhead": own.run_seconds if own else None,
        "days_for_this_corpus": own.seconds / 86400 if own else None,
        "days_for_3_68_million": lab.seconds / 86400 if lab else None,
        "dagster/partition_row_count": state.summarized,
        "pending": state.pending,
    }
    metadata: dict[str, dg.MetadataValue] = {
        "overview": dg.MetadataValue.md(f"```\n{render_range_report(result, outlook)}\n```")
    }
    metadata |= {
        name: dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(float(f"{value:.4g}"))
        for name, value in numbers.items()
        if value is not None
    }
    if result.share:
        metadata["limit"] = dg.MetadataValue.text(str(result.share))
    metadata["fingerprint"] = dg.MetadataValue.text(result.fingerprint)
    metadata["settings"] = dg.MetadataValue.json(result.settings)
    metadata["phases"] = dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "phase": phase,
                    "seconds": round(s, 3),
                    "percent": round(100 * s / result.seconds, 1),
                    "seconds_beside": round(result.beside.get(phase, 0.0), 3),
                }
            )
            for phase, s in result.phases.items()
        ]
    )
    if workers := result.engine.workers if result.engine else ():
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
    if result.rejected:
        metadata["rejected_by_reason"] = dg.MetadataValue.json(result.rejected)
    if outages.count:
        metadata["database_outages"] = dg.MetadataValue.int(outages.count)
        metadata["seconds_database_away"] = dg.MetadataValue.float(round(outages.seconds, 1))
    if result.engine:
        metadata["device_name"] = dg.MetadataValue.text(result.engine.device_name)
    if result.examples:
        metadata["examples"] = dg.MetadataValue.table(
            [
                dg.TableRecord({"abstract_id": i, "abstract": text[:_TABLE_SUMMARY_CHARACTERS], "summary": summary})
                for i, text, summary in result.examples
            ]
        )
    return metadata


#: The states of ID ranges that have plots, also while no range is in them.
_PLOTTED: tuple[State, ...] = ("done", "running", "queued", "failed", "stale", "not begun")


def status_metadata(status: CorpusStatus) -> dict[str, dg.MetadataValue]:
    """Return the status of the corpus: numbers under stable names for the plots, and sentence and table to read."""
    lines = ["| state | ID ranges | abstracts |", "|---|---:|---:|"]
    lines += [f"| {state} | {n:,} | {status.abstracts[state]:,} |" for state, n in status.ranges.most_common()]
    lines.append(f"| all | {len(status.statuses):,} | {status.abstracts.total():,} |")
    metadata: dict[str, dg.MetadataValue] = {
        "forecast": dg.MetadataValue.text(status.forecast or "Nothing was measured yet."),
        "states": dg.MetadataValue.md("\n".join(lines)),
    }
    for unit, counts in (("ranges", status.ranges), ("abstracts", status.abstracts)):
        metadata |= {f"{unit}_{s.replace(' ', '_')}": dg.MetadataValue.int(counts[s]) for s in _PLOTTED}
    metadata["abstracts_left"] = dg.MetadataValue.int(status.left)
    if status.rate and status.seconds_left:
        metadata["abstracts_per_second"] = dg.MetadataValue.float(float(f"{status.rate.per_second:.4g}"))
        for end, seconds in zip(("", "_low", "_high"), status.seconds_left, strict=True):
            metadata[f"hours_left{end}"] = dg.MetadataValue.float(round(seconds / 3600, 4))
            if status.goes_on:
                metadata[f"ends_at{end}"] = dg.MetadataValue.timestamp(time.time() + seconds)
    return metadata
