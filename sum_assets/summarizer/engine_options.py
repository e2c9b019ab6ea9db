"""Options of single engines: values that their library takes, beside the settings that all engines share."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from sum_assets.summarizer.types import DeviceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOption:
    """One of `values`, or else a number from `least` to `most`, which is `whole` or not.

    `needs` names another option that must be set as well. `changes_text` puts it into the fingerprint.
    """

    values: tuple[str, ...] = ()
    whole: bool = True
    least: float = 1
    most: float = inf
    devices: tuple[DeviceKind, ...] = ("cpu", "cuda")
    needs: str | None = None
    changes_text: bool = False

    def takes(self, value: object) -> bool:
        """Return whether a value is one of the option's."""
        if self.values:
            return value in self.values
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and not (self.whole and isinstance(value, float)) and self.least <= value <= self.most  # type: ignore[operator]

    def __str__(self) -> str:
        if self.values:
            return f"one of {', '.join(self.values)}"
        limits = f"at least {self.least:g}" if self.most == inf else f"from {self.least:g} to {self.most:g}"
        return f"a {'whole ' if self.whole else ''}number, {limits}"


def check_options(engine: str, known: Mapping[str, EngineOption], given: dict[str, Any]) -> dict[str, Any]:
    """Return the options. Raises ValueError for one that the engine does not have, or whose value it does not take."""
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"engine_options: engine {engine} has no {name}; it has {', '.join(known) or 'none'}")
        option = known[name]
        if not option.takes(value):
            raise ValueError(f"engine_options: {name} is {option}, not {value!r}")
        if option.needs and option.needs not in given:
            raise ValueError(f"engine_options: {name} has no effect without {option.needs}; set both or neither")
    return given
