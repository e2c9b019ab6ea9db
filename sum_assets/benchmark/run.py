"""Runs a sweep: cell after cell, replicates of all presets in turn, each in a process of its own."""

import hashlib
import json
import platform
import signal
import subprocess
import sys
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
from sum_assets.summarizer.engine_registry import libraries_in_process
from sum_assets.summarizer.environments import versions_of

_VERSIONED = sorted({"sum-assets", "bitsandbytes", "torchao"} | libraries_in_process())


@dataclass(frozen=True)
class Cell:
    """One replicate of one preset; `key` is a hash of all that makes a measurement the same.

    `beside` names the preset for which the baseline was measured once more, in turn with it alone.
    """

    key: str
    name: str
    preset: Preset
    replicate: int
    settings: dict[str, Any]
    ids: list[int]
    beside: str | None = None


@dataclass(frozen=True)
class Measured:
    """A cell and what was found, now or in an earlier run of the sweep."""

    cell: Cell
    result: CellResult


def plan(connection: Connection, sweep: Sweep, summarizer: SummarizerSettings) -> tuple[list[Cell], list[int]]:
    """Return the cells in the order to measure them, and the IDs to warm up on.

    Replicates go around all presets, so that a slow minute of the machine hurts all alike. Raises UserError
    where the corpus is smaller than sample and warm-up.
    """
    ids = draw_sample(connection, sweep.sample + sweep.warm_up)
    if len(ids) < sweep.sample + sweep.warm_up:
        raise UserError(
            f"The corpus has {len(ids)} abstracts; the sweep takes {sweep.sample} and {sweep.warm_up} to warm up on. "
            "Lower `sample`, or load more."
        )
    sample, warm_up = ids[: sweep.sample], ids[sweep.sample :]
    versions = {library: version(library) for library in _VERSIONED if find_spec(library.replace("-", "_"))}

    def cell(name: str, replicate: int, beside: str | None = None) -> Cell:
        preset = presets[name]
        taken = sample[: sweep.baseline_sample] if preset.naive else sample
        settings = {
            "preset": preset.model_dump(),
            "summarizer": summarizer.model_dump(),
            "warm_up": sweep.warm_up,
            "versions": versions | versions_of(preset.engine),
            "beside": beside,
        }
        identity = json.dumps([settings, taken, replicate, platform.node()], sort_keys=True)
        key = hashlib.sha256(identity.encode()).hexdigest()[:16]
        return Cell(key, name, preset, replicate, settings, taken, beside)

    presets = sweep.all_presets()
    cells = []
    for replicate in range(1, sweep.replicates + 1):
        for name in presets:
            cells.append(cell(name, replicate))
            if name != BASELINE:
                cells.append(cell(BASELINE, replicate, beside=name))
    return cells, warm_up


def registered_sweep(connection: Connection) -> tuple[Sweep, SummarizerSettings]:
    """Return the sweep in use. Raises UserError where there is none, or one of an older version."""
    sweep, summarizer = stored_sweep(connection)
    try:
        return Sweep.model_validate(sweep), SummarizerSettings.model_validate(summarizer)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(
            f"The registered sweep is of another version of sum_assets, which knew {place}. Register it again: "
            "`sum-assets sweep FILE`."
        ) from error


def run_sweep(
    connection: Connection,
    sweep: Sweep,
    summarizer: SummarizerSettings,
    presets: Sequence[str] = (),
    *,
    alone: bool = False,
    force: bool = False,
    on_cell: Callable[[Measured, bool, int], None] = lambda _, __, ___: None,
    say: Callable[[str], object] = lambda _: None,
) -> list[Measured]:
    """Measure what is not measured yet, and return the results of all that was asked for.

    `presets` are taken in turn with the baseline; none means all. With `alone`, each has a baseline of its own
    beside it, in the same minutes. Full precision is measured at least once, to hold the texts against. `force`
    measures all again. A sweep that was killed goes on where it stopped. `on_cell` hears of every result,
    whether it is new, and how many there will be, `say` of a device that is waited for. Raises UserError for a
    preset that the sweep does not have.
    """
    unknown = set(presets) - set(sweep.all_presets())
    if unknown:
        raise UserError(
            f"The sweep has no preset {', '.join(sorted(unknown))}. It has: {', '.join(sweep.all_presets())}."
        )
    cells, warm_up = plan(connection, sweep, summarizer)
    wanted = set(presets or sweep.all_presets()) | (set() if alone else {BASELINE})
    known = {} if force else _results(connection, [c.key for c in cells])
    unmeasured = {(c.name, c.replicate) for c in cells if not c.beside and c.key not in known}

    def takes(cell: Cell) -> bool:
        if cell.beside:
            # Beside what was measured earlier, a baseline of now would be no pair.
            paired = cell.key in known or (cell.beside, cell.replicate) in unmeasured
            return alone and cell.beside in wanted and paired
        return cell.name in wanted or (cell.name, cell.replicate) == (REFERENCE, 1)

    chosen = [cell for cell in cells if takes(cell)]
    measured: list[Measured] = []
    for cell in chosen:
        if cell.beside and measured[-1].result.outcome != "ok":
            continue  # there is no speed to compare
        new = cell.key not in known
        result = _measure(connection, cell, warm_up, sweep, summarizer, say) if new else known[cell.key]
        measured.append(Measured(cell, result))
        on_cell(measured[-1], new, len(chosen))
    return measured


def measured_so_far(connection: Connection, sweep: Sweep, summarizer: SummarizerSettings) -> list[Measured]:
    """Return all results of a sweep, and measure nothing."""
    cells, _ = plan(connection, sweep, summarizer)
    known = _results(connection, [c.key for c in cells])
    return [Measured(cell, known[cell.key]) for cell in cells if cell.key in known]


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
    say: Callable[[str], object],
) -> CellResult:
    forget_summaries(connection, cell.key)
    with device_lease(cell.preset, say) as preset:
        task = Task(cell.key, preset.model_dump(), summarizer.model_dump(), cell.ids, warm_up)
        result = run_cell(task, sweep.time_limit)
    found = {
        "cell": cell.key,
        "preset": cell.name,
        "replicate": cell.replicate,
        "host": platform.node(),
        "settings": cell.settings,
        "sample_hash": hashlib.sha256(json.dumps(cell.ids).encode()).hexdigest()[:16],
    }
    store_result(connection, found | asdict(result))
    return result


def run_cell(task: Task, time_limit: float) -> CellResult:
    """Run one cell in a process of its own, and tell by its end what came of it; nothing is raised for it."""
    command = [sys.executable, "-m", "sum_assets.benchmark.cell"]
    try:
        ended = subprocess.run(
            command, input=json.dumps(asdict(task)), capture_output=True, text=True, timeout=time_limit, check=False
        )
    except subprocess.TimeoutExpired:
        return CellResult("timeout", f"not done after {time_limit:.0f} s, loading included")
    lines = ended.stdout.strip().splitlines()
    if ended.returncode == 0 and lines:
        return CellResult(**json.loads(lines[-1]))
    if ended.returncode < 0:
        name = signal.Signals(-ended.returncode).name
        hint = ", most likely by the system when memory ran out" if name == "SIGKILL" else ""
        return CellResult("killed", f"ended by {name}{hint}")
    said = ended.stderr.strip().splitlines()
    return CellResult("failed", said[-1] if said else f"exit code {ended.returncode}")
