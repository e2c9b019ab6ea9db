"""Has the process of each launched run record itself, so that its end is noticed; see `lost_runs`."""

from collections.abc import Iterator
from typing import Any, cast

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig

from sum_assets.database.connection import configured_url
from sum_assets.database.reconnect import open_database
from sum_assets.database.run_process import recorded_process

#: Seconds that a run waits at its start for a database that is away.
_WAIT = 60.0


class RecordedExecutor(dg.Executor):
    """Another executor, inside a block that records the process."""

    def __init__(self, inner: dg.Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> RetryMode:
        """Return how the other one retries steps."""
        return self._inner.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        """Return what the other one requires before a step."""
        return self._inner.step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Run the steps."""
        url = configured_url()
        if url is None:  # Dagster's tables are in SQLite, and there is nothing to work on
            yield from self._inner.execute(plan_context, execution_plan)
            return
        with open_database(url, wait_seconds=_WAIT) as database, recorded_process(database, plan_context.run_id):
            database.close()  # the heartbeat has its own
            yield from self._inner.execute(plan_context, execution_plan)


def recorded(executor: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    """Return an executor of the same name and configuration whose runs record their process."""
    create = executor.executor_creation_fn
    assert create

    def create_recorded(context: dg.InitExecutorContext) -> dg.Executor:
        return RecordedExecutor(create(context))

    return dg.ExecutorDefinition(
        executor.name,
        config_schema=cast(Any, executor.config_schema),  # Dagster takes one as it is
        requirements=executor.get_requirements,
        executor_creation_fn=create_recorded,
        description=executor.description,
    )
