"""Launches each run as a job of a Ray cluster: what `deploy/` has Dagster do. Needs the extra `deploy`."""

import shlex

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext
from dagster_ray import RayRunLauncher


class RayLauncher(RayRunLauncher):
    """dagster-ray's launcher, whose jobs get their argument whole, and whose runs wait for a Ray that is away."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Submit the run. Raises DagsterUserCodeUnreachableError where Ray does not answer."""
        try:
            super().launch_run(context)
        except OSError as error:
            # A connection failed, by requests or by Python. The daemon puts a run back into the queue for the error
            # raised here alone; for any other, it fails it.
            raise DagsterUserCodeUnreachableError(f"Ray does not answer: {error}") from error

    def _launch_ray_job(self, submission_id: str, entrypoint: str, run: DagsterRun) -> None:
        # dagster-ray 0.4.8 puts the argument, JSON, between single quotes as it is, for a shell: that of a storage
        # named in dagster.yaml contains some.
        command, argument = entrypoint.split(" '", 1)
        super()._launch_ray_job(submission_id, f"{command} {shlex.quote(argument[:-1])}", run)
