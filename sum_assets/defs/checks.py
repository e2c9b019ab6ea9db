"""Logs what asset checks found, for each partition by itself.

Dagster itself would log one result for all partitions of a run.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from sum_assets.defs.range_events import newest_materialization


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found, in a sentence, with numbers for its plot; `warns` where a failure is no fault."""

    passed: bool
    sentence: str
    numbers: Mapping[str, float | int] = field(default_factory=dict)
    warns: bool = False

    @property
    def is_fault(self) -> bool:
        """Whether it failed, and somebody must do something about it."""
        return not (self.passed or self.warns)


def partitioned_check(
    name: str, asset: str, partitions: dg.PartitionsDefinition[str], description: str, *, blocking: bool = False
) -> dg.AssetCheckSpec:
    """Return a check that is green or red for each partition."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # that a check may have partitions is new in Dagster
        return dg.AssetCheckSpec(
            name, asset=asset, partitions_def=partitions, description=description, blocking=blocking
        )


def asked_checks(context: dg.AssetExecutionContext, asset: str) -> set[str]:
    """Return the names of the checks of an asset that the run was asked for."""
    return {key.name for key in context.selected_asset_check_keys if key.asset_key == dg.AssetKey(asset)}


def log_checks(context: dg.AssetExecutionContext, asset: str, key: str, verdicts: Mapping[str, Verdict]) -> list[str]:
    """Log the verdicts that were asked for, on the newest materialization of a partition.

    Return the sentences of those that are faults.
    """
    names = asked_checks(context, asset)
    asked = {name: verdict for name, verdict in verdicts.items() if name in names}
    target = _target(newest_materialization(context.instance, asset, key)) if asked else None
    for name, verdict in asked.items():
        check = dg.AssetCheckKey(dg.AssetKey(asset), name)
        context.log_event(
            dg.AssetCheckEvaluation(
                asset_key=check.asset_key,
                check_name=name,
                passed=verdict.passed,
                description=verdict.sentence,
                metadata=verdict.numbers,
                severity=dg.AssetCheckSeverity.WARN if verdict.warns else dg.AssetCheckSeverity.ERROR,
                blocking=context.assets_def.get_spec_for_check_key(check).blocking,
                partition=key,
                target_materialization_data=target,
            )
        )
    return [verdict.sentence for verdict in asked.values() if verdict.is_fault]


def check_outputs(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
    """Yield the outputs of the checks that were asked for, since Dagster looks for them."""
    for spec in context.assets_def.check_specs:
        if spec.key in context.selected_asset_check_keys:
            yield dg.Output(None, spec.get_python_identifier())


def _target(record: dg.EventLogRecord | None) -> AssetCheckEvaluationTargetMaterializationData | None:
    if record is None:
        return None
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
    )
