"""The jobs, one for each act. A launchpad lists all defaults; some add the fields that matter to their act.

A job over partitions adds none where its backfills are given a configuration. Dagster would take what the job adds for
the configuration of each partition, and refuse the two together.
"""

import dagster as dg

from sum_assets.defs.asset_names import (
    BENCHMARK,
    BENCHMARK_REPORT,
    COMPARE,
    COMPARISON,
    CORPUS_ASSETS,
    CORPUS_OP,
    MEASURE,
    PILOT,
    PILOT_ROWS,
    REGISTER,
    REPORT,
    SUMMARIES,
    SUMMARIZE,
    SUMMARY_TABLE,
    SWEEP,
)


def _launchpad(op: str, **values: object) -> dict[str, object]:
    """Return the fields that a launchpad fills in, also those that are null by default, which it would not list."""
    return {"ops": {op: {"config": values}}}


summarize_corpus = dg.define_asset_job(
    SUMMARIZE,
    selection=list(CORPUS_ASSETS),
    description="Profile, summarize and publish ID ranges. A run takes seconds to days: try `pilot` first. What has a "
    "current summary is left as it is.",
)

pilot = dg.define_asset_job(
    PILOT,
    selection=dg.AssetSelection.assets(SUMMARIES).without_checks(),  # a pilot is no materialization to judge
    config=_launchpad(CORPUS_OP, limit=PILOT_ROWS),
    description=f"Summarize `limit` abstracts of an ID range, {PILOT_ROWS} unless it is set, to see texts and rate. "
    "Nothing is published; the numbers and examples are in an observation of `summaries`.",
)

publish_summaries = dg.define_asset_job(
    "publish_summaries",
    selection=[SUMMARY_TABLE],
    config=_launchpad(CORPUS_OP, fingerprint=None),
    description="Publish ID ranges as they were summarized last, or under the `fingerprint` named. Readers see a range "
    "change in one moment. Nothing is generated: `gpu` and `summarizer` have no effect. `sum-assets publish` changes "
    "all ranges at once.",
)

register_sweep = dg.define_asset_job(
    REGISTER,
    selection=[SWEEP],
    config=_launchpad(SWEEP, file="sweeps/cpu.yaml", text=None),
    description="Register a sweep: its presets become the partitions of `benchmark`. Nothing is measured. The model is "
    "that of `summarizer`.",
)

benchmark_preset = dg.define_asset_job(
    MEASURE,
    selection=[BENCHMARK],
    description="Measure a preset of the registered sweep, in turn with the baseline. It takes minutes. What was "
    "measured already is not measured again, unless `force` is set.",
)

report_benchmark = dg.define_asset_job(
    REPORT,
    selection=[BENCHMARK_REPORT],
    description="Compare all presets that were measured, and name the configuration of the winner.",
)

compare_configurations = dg.define_asset_job(
    COMPARE,
    selection=[COMPARISON],
    config=_launchpad(COMPARISON, id_range=None, fingerprints=[], reference=None),
    description="Compare what runs made of the same abstracts under different configurations, for example in pilots.",
)

JOBS = [
    summarize_corpus,
    pilot,
    publish_summaries,
    register_sweep,
    benchmark_preset,
    report_benchmark,
    compare_configurations,
]
