"""Run configuration whose values are checked at the launch: what a person must correct is said once, before a run."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import dagster as dg
from pydantic import BaseModel, ValidationError

from sum_assets.errors import UserError

_Model = TypeVar("_Model", bound=BaseModel)


def checked_resource(
    resource: type[dg.ConfigurableResource[Any]],
    settings: type[BaseModel],
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
        checked = _checked(settings, config)
        return config | {name: getattr(checked, name) for name in may_be_auto}

    return definition.configured(check, config_schema=fields)


def checked_fields(config: type[dg.Config]) -> dict[str, dg.Field]:
    """Return the config schema of an asset, whose values are checked as those of a resource are; see `config_of`."""
    checked = {}
    for name, field in config.to_fields_dict().items():
        default = {"default_value": field.default_value} if field.default_provided else {}
        checked[name] = dg.Field(
            _CheckedType(field.config_type, config, name),
            is_required=field.is_required,
            description=field.description,
            **default,
        )
    return checked


def config_of(context: dg.AssetExecutionContext, config: type[_Model]) -> _Model:
    """Return what an asset with `checked_fields(config)` was configured with."""
    return config.model_validate(context.op_execution_context.op_config)


class _CheckedType(dg.Noneable):
    """The type of a field that a model checks, too; the model also says whether it may be null."""

    def __init__(self, inner: Any, model: type[BaseModel], name: str) -> None:
        super().__init__(inner.inner_type if isinstance(inner, dg.Noneable) else inner)
        self.key += f".{model.__name__}.{name}"  # by equal keys, Dagster would take the type that checks nothing
        self._model, self._name = model, name

    def post_process(self, value: Any) -> Any:
        """Return the value. Raises DagsterInvalidConfigError where it is not valid."""
        _checked(self._model, {self._name: value})
        return value


def _checked(model: type[_Model], config: Mapping[str, Any]) -> _Model:
    """Return the model of a configuration. Raises DagsterInvalidConfigError where a value is not valid.

    The UI shows its sentence first, and below it the trace of every cause: so there is none.
    """
    try:
        return model.model_validate(config)
    except ValidationError as error:
        raise dg.DagsterInvalidConfigError(_refusal(error), [], config) from None  # type: ignore[no-untyped-call]
    except UserError as error:
        raise dg.DagsterInvalidConfigError(str(error), [], config) from None  # type: ignore[no-untyped-call]


def _refusal(error: ValidationError) -> str:
    """Return what is wrong with each value; the sentences of our own checks name the field themselves."""
    own = "Value error, "
    return "; ".join(
        one["msg"].removeprefix(own) if one["msg"].startswith(own) else f"{one['loc'][0]}: {one['msg']}"
        for one in error.errors()
    )
