"""Runs a sweep: one cell after the other, the replicates of all presets in turn, each in its own process."""

import hashlib
import json
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from psycopg import Connection
from pydantic import ValidationError

from sum_assets.benchmark.cell import CellResult, Task
from sum_assets.benchmark.sweep import BASELINE, REFERENCE, Preset, Sweep
from sum_assets.database.benchmark_results import draw_sample, forget_summaries, result_rows, store_result, stored_sweep
from sum_assets.errors import UserError
from sum_assets.summarizer import SummarizerSettings
from sum_assets.summarizer.device_lease import device_lease
from sum_assets.summarizer.engine_environments import versions_of
from sum_assets.summarizer.engine_registry import libraries_in_process
from sum_assets.units import duration

_VERSIONED = sorted({"sum-assets", "bitsandbytes", "torchao"} | libraries_in_process())


@dataclass(frozen=True)
class Cell:
    """One replicate of one preset. `key` is a hash of all that a measurement depends on.

    A baseline with `paired_with` is measured right after that preset, to be compared with it alone.
    """

    key: str
    name: str
    preset: Preset
    replicate: int
    settings: dict[str, Any]
    ids: list[int]
    paired_with: str | None = None


@dataclass(frozen=True)
class CellMeasurement:
    """A cell and its result, measured now or in an earlier run of the sweep."""

    cell: Cell
    result: CellResult


def plan(connection: Connection, sweep: Sweep, summarizer: SummarizerSettings) -> tuple[list[Cell], list[int]]:
    """Return the cells in the order to measure them, and the IDs to warm up on.

    Each round measures one replicate of every preset, so that a slow minute of the machine affects all alike.
    Raises UserError where the corpus is smaller than sample and warm-up together.
    """
    ids = draw_sample(connection, sweep.sample + sweep.warm_up)
    if len(ids) < sweep.sample + sweep.warm_up:
        raise UserError(
            f"The corpus has {len(ids)} abstracts; the sweep takes {sweep.sample} and {sweep.warm_up} to warm up on. "
            "Lower `sample`, or load more abstracts."
        )
    sample, warm_up = ids[: sweep.sample], ids[sweep.sample :]
    versions = {library: version(library) for library in _VERSIONED if find_spec(library.replace("-", "_"))}

    def cell(name: str, replicate: int, paired_with: str | None = None) -> Cell:
        preset = presets[name]
        cell_ids = sample[: sweep.baseline_sample] if preset.naive else sample
        settings = {
            "preset": preset.model_dump(),
            "summarizer": summarizer.model_dump(),
            "warm_up": sweep.warm_up,
            "versions": versions | versions_of(preset.engine),
            "beside": paired_with,  # hashed: under another name, every sweep would be measured again
        }
        identity = json.dumps([settings, cell_ids, replicate, platform.node()], sort_keys=True)
        key = hashlib.sha256(identity.encode()).hexdigest()[:16]
        return Cell(key, name, preset, replicate, settings, cell_ids, paired_with)

    presets = sweep.all_presets()
    cells = []
    for replicate in range(1, sweep.replicates + 1):
        for name in presets:
            cells.append(cell(name, replicate))
            if name != BASELINE:
                cells.append(cell(BASELINE, replicate, paired_with=name))
    return cells, warm_up


def registered_sweep(connection: Connection) -> tuple[Sweep, SummarizerSettings]:
    """Return the registered sweep. Raises UserError where there is none, or one of another version of sum_assets."""
    sweep, summarizer = stored_sweep(connection)
    try:
        return Sweep.model_validate(sweep), SummarizerSettings.model_validate(summarizer)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(
            f"The registered sweep is of another version of sum_assets: {place} is not valid in this one. Register it "
            "again: `sum-assets sweep FILE`."
        ) from error


def run_sweep(
    connection: Connection,
    sweep: Sweep,
    summarizer: SummarizerSettings,
    presets: Sequence[str] = (),
    *,
    alone: bool = False,
    force: bool = False,
    on_result: Callable[[CellMeasurement, bool, int], None] = lambda _, __, ___: None,
    log: Callable[[str], object] = lambda _: None,
) -> list[CellMeasurement]:
    """Measure what is not measured yet, and return the results of all presets that were asked for.

    `presets` are measured in turn with the baseline; none means all. With `alone`, each is paired with a baseline
    of its own, in the same minutes. Full precision is measured at least once, to compare the texts with. `force`
    measures all again. A sweep that was killed resumes where it stopped.

    `on_result` is called with every result, whether it is new, and how many there will be; `log` with a line as each
    measurement begins, with the time that is left, and while a device is waited for. Raises UserError for a preset
    that the sweep does not have.
    """
    sweep.require_presets(presets)
    cells, warm_up = plan(connection, sweep, summarizer)
    selected = set(presets or sweep.all_presets()) | (set() if alone else {BASELINE})
    known = {} if force else _results(connection, [c.key for c in cells])
    unmeasured = {(c.name, c.replicate) for c in cells if not c.paired_with and c.key not in known}

    def is_wanted(name: str, replicate: int) -> bool:
        return name in selected or (name, replicate) == (REFERENCE, 1)

    def is_selected(cell: Cell) -> bool:
        if cell.paired_with:
            # A baseline measured now does not pair with what was measured earlier.
            pairs = cell.key in known or (cell.paired_with, cell.replicate) in unmeasured
            return alone and pairs and is_wanted(cell.paired_with, cell.replicate)
        return is_wanted(cell.name, cell.replicate)

    chosen = [cell for cell in cells if is_selected(cell)]
    began, done = time.monotonic(), 0
    measurements: list[CellMeasurement] = []
    for number, cell in enumerate(chosen, 1):
        if cell.paired_with and measurements[-1].result.outcome != "ok":
            continue  # the preset has no speed to compare
        new = cell.key not in known
        if new:
            to_do = sum(c.key not in known for c in chosen[number - 1 :])
            left = f", about {duration((time.monotonic() - began) / done * to_do / 86400)} left" if done else ""
            log(f"measuring {cell.name}, replicate {cell.replicate} ({number} of {len(chosen)}{left})")
            done += 1
        result = _measure(connection, cell, warm_up, sweep, summarizer, log) if new else known[cell.key]
        measurements.append(CellMeasurement(cell, result))
        on_result(measurements[-1], new, len(chosen))
    return measurements


def earlier_measurements(connection: Connection, sweep: Sweep, summarizer: SummarizerSettings) -> list[CellMeasurement]:
    """Return all results of a sweep that are in the database; measure nothing."""
    cells, _ = plan(connection, sweep, summarizer)
    known = _results(connection, [c.key for c in cells])
    return [CellMeasurement(cell, known[cell.key]) for cell in cells if cell.key in known]


def _results(connection: Connection, cells: Sequence[str]) -> dict[str, CellResult]:
    names = CellResult.__dataclass_fields__
    rows = result_rows(connection, cells)
    return {row["cell"]: CellResult(**{name: row[name] for name in names}) for row in rows}


def _measure(
    connection: Connection,
    cell: Cell,
    warm_up: list[int],
    sweep: Sweep,
    summarizer: SummarizerSettings,
    log: Callable[[str], object],
) -> CellResult:
    forget_summaries(connection, cell.key)
    with device_lease(cell.preset, log) as preset:
        task = Task(cell.key, preset.model_dump(), summarizer.model_dump(), cell.ids, warm_up)
        result = run_cell(task, sweep.time_limit)
    row = {
        "cell": cell.key,
        "preset": cell.name,
        "replicate": cell.replicate,
        "host": platform.node(),
        "settings": cell.settings,
        "sample_hash": hashlib.sha256(json.dumps(cell.ids).encode()).hexdigest()[:16],
    }
    store_result(connection, row | asdict(result))
    return result


def run_cell(task: Task, time_limit: float) -> CellResult:
    """Run one cell in its own process. However the process ends, the result says so: nothing is raised.

    `time_limit` is in seconds, loading included.
    """
    command = [sys.executable, "-m", "sum_assets.benchmark.cell"]
    try:
        process = subprocess.run(
            command, input=json.dumps(asdict(task)), capture_output=True, text=True, timeout=time_limit, check=False
        )
    except subprocess.TimeoutExpired:
        return CellResult("timeout", f"not done after {time_limit:.0f} s, loading included")
    lines = process.stdout.strip().splitlines()
    if process.returncode == 0 and lines:
        return CellResult(**json.loads(lines[-1]))
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        hint = ", most likely by the system when memory ran out" if name == "SIGKILL" else ""
        return CellResult("killed", f"ended by {name}{hint}")
    errors = process.stderr.strip().splitlines()
    return CellResult("failed", errors[-1] if errors else f"exit code {process.returncode}")
