"""Discrete-event simulation of one full run: runs go from Dagster's queue to devices, which fail and return."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import simpy
from numpy.typing import NDArray

from sum_assets.errors import UserError
from sum_assets.simulation.fleet import Crashes, Fleet, Group, Outages
from sum_assets.simulation.trial import Span, Trial
from sum_assets.units import duration

#: A simulated run is given up after this many times the time that it would take with one failure.
_GIVE_UP_FACTOR = 100
_Process = Generator[simpy.Event, Any, None]


def run_trial(fleet: Fleet, repetition: int = 0) -> Trial:
    """Simulate one full run. Raises UserError if failures keep it from ending."""
    return Simulator(fleet, np.random.default_rng([fleet.seed, repetition])).run()


@dataclass(slots=True)
class _Device:
    number: int
    group: Group
    seconds_per_abstract: float
    process: simpy.Process = field(init=False)
    away: bool = False
    #: Whether the process of `sum-assets work` goes on, and with it the model.
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """A run without failures: seconds from its launch until the model is loaded, and until each batch's end.

    `finish` are the seconds from the last batch to the end of the run.
    """

    ready: float
    ends: NDArray[np.floating[Any]]
    finish: float

    @property
    def worked(self) -> float:
        return float(self.ends[-1]) if len(self.ends) else self.ready


class Simulator:
    """The state of one trial.

    The times of a run's batches are drawn all at once, and the run is one event. So millions of abstracts take
    seconds to simulate.
    """

    def __init__(self, fleet: Fleet, generator: np.random.Generator) -> None:
        self._fleet, self._random = fleet, generator
        self._env = simpy.Environment()
        self._queue = simpy.Store(self._env)
        self._rows_left = fleet.sizes()
        # What ranges take beside their abstracts is put at the end of a run, so that it does not count as work.
        ranges = [math.ceil(rows / fleet.rows_per_range) for rows in self._rows_left]
        self._finish = [fleet.runs.finish + fleet.runs.per_range * number for number in ranges]
        self._unfinished = len(self._rows_left)
        self._ended = self._env.event()
        self._queue_empty: float | None = None
        self._tick = float(generator.uniform(0, fleet.runs.poll)) if fleet.runs.poll else 0.0
        self._spans: list[Span] = []
        self._env.process(self._submit())
        number = 0
        for group in fleet.devices.values():
            assert group.abstracts_per_second
            seconds = self._noise(group.uncertainty) / group.abstracts_per_second
            devices = [_Device(number + i, group, seconds * self._noise(group.spread)) for i in range(group.count)]
            number += group.count
            for device in devices:
                device.process = self._env.process(self._take_runs(device))
            self._schedule_failures(group, devices)

    def run(self) -> Trial:
        """Simulate until the last run is done. Raises UserError if failures keep it from ending."""
        fleet = self._fleet
        slowest = max(
            self._rows_left[0] / (g.abstracts_per_second or 1) + g.load_seconds for g in fleet.devices.values()
        )
        each = fleet.runs.submit + fleet.runs.poll + fleet.runs.start + self._finish[0]
        generating = fleet.rows / fleet.abstracts_per_second
        recovery = max(_recovery_seconds(group) for group in fleet.devices.values())
        limit = _GIVE_UP_FACTOR * (generating + slowest + len(self._rows_left) * each + fleet.runs.backfill + recovery)
        self._env.run(self._ended | self._env.timeout(limit))
        if not self._ended.triggered:
            raise UserError(
                f"After {duration(limit / 86400)} {sum(self._rows_left):,} of {fleet.rows:,} abstracts are left: these "
                "devices fail before they finish a batch. Make the batches smaller, or the failures rarer."
            )
        seconds = self._env.now
        return Trial(seconds, self._queue_empty if self._queue_empty is not None else seconds, self._spans)

    def _noise(self, share: float) -> float:
        """Return a factor with mean 1 and about this standard deviation."""
        return float(np.exp(share * self._random.standard_normal() - share**2 / 2))

    def _submit(self) -> _Process:
        yield self._env.timeout(self._fleet.runs.backfill)
        for index in range(len(self._rows_left)):
            self._queue.put(index)
            if self._fleet.runs.submit:
                yield self._env.timeout(self._fleet.runs.submit)

    def _take_runs(self, device: _Device) -> _Process:
        while True:
            request, index, plan, launched = self._queue.get(), None, None, 0.0
            if not request.triggered and self._queue_empty is None and self._env.now > self._all_submitted:
                self._queue_empty = self._env.now
            try:
                index = yield request
                if self._fleet.runs.poll:
                    yield self._env.timeout((self._tick - self._env.now) % self._fleet.runs.poll)
                launched, plan = self._env.now, self._plan(device, index)
                yield self._env.timeout(plan.worked + plan.finish)
                self._record(device, index, plan, launched)
                device.is_open = self._fleet.runs.work and (device.is_open or len(plan.ends) > 0)
                self._unfinished -= 1
                if not self._unfinished:
                    self._ended.succeed()
            except simpy.Interrupt as interrupt:
                device.is_open = False
                failure = cast(Crashes | Outages, interrupt.cause)
                if index is None:
                    if request.triggered:
                        index = request.value
                    else:
                        request.cancel()
                if plan is not None and index is not None:
                    self._record(device, index, plan, launched)
                noticed = float(self._random.uniform(0, failure.noticed_within_seconds))
                if index is not None:
                    self._env.process(self._requeue(index, noticed))
                # A crash costs nothing on a device without a run.
                away = failure.repair_hours * 3600 if isinstance(failure, Outages) else noticed * (index is not None)
                self._spans.append(Span(device.number, "away", self._env.now, self._env.now + away))
                yield self._env.timeout(away)
                device.away = False

    @property
    def _all_submitted(self) -> float:
        return self._fleet.runs.backfill + self._fleet.runs.submit * (len(self._rows_left) - 1)

    def _plan(self, device: _Device, index: int) -> _Plan:
        runs, group, rows, finish = self._fleet.runs, device.group, self._rows_left[index], self._finish[index]
        start, load = (0.0, 0.0) if device.is_open else (runs.start, group.load_seconds)
        if not rows:  # all was committed before the failure: the model is not loaded again
            return _Plan(start, np.empty(0), finish)
        sizes = _batches(rows, group.batch_size)
        noise = np.exp(group.batch_noise * self._random.standard_normal(len(sizes)) - group.batch_noise**2 / 2)
        ready = start + load
        seconds_per_abstract = device.seconds_per_abstract * self._noise(group.run_noise)
        ends = ready + np.cumsum(sizes * noise) * seconds_per_abstract
        return _Plan(ready, ends, finish)

    def _record(self, device: _Device, index: int, plan: _Plan, launched: float) -> None:
        """Record what a run did until now, and how many abstracts it committed."""
        now, number = self._env.now, device.number
        # To the microsecond, since floating-point times of many seconds are rounded.
        done = int(np.searchsorted(plan.ends, now - launched + 1e-6, side="right"))
        rows = min(done * device.group.batch_size, self._rows_left[index])
        self._rows_left[index] -= rows
        until = [launched, min(launched + plan.ready, now)]
        until.append(launched + float(plan.ends[done - 1]) if done else until[-1])
        self._spans.append(Span(number, "starting", until[0], until[1], index))
        self._spans.append(Span(number, "working", until[1], min(until[2], now), index, rows))
        if now <= until[2]:
            return
        if self._rows_left[index]:
            self._spans.append(
                Span(number, "lost", until[2], now, index, min(device.group.batch_size, self._rows_left[index]))
            )
        else:
            self._spans.append(Span(number, "finishing", until[2], now, index))

    def _requeue(self, index: int, noticed: float) -> _Process:
        """Queue a run again, behind all others: what repeats it is the newest."""
        yield self._env.timeout(noticed)
        self._queue.put(index)

    def _schedule_failures(self, group: Group, devices: Sequence[_Device]) -> None:
        if group.crashes:
            for moment in group.crashes.at_hours:
                self._env.process(self._fail_once(moment * 3600, devices[:1], group.crashes))
            for device in devices if group.crashes.every_hours else ():
                self._env.process(self._fail_repeatedly(group.crashes.every_hours or 0, [device], group.crashes))
        if group.outages:
            for first in range(0, len(devices), group.per_host):
                host = devices[first : first + group.per_host]
                self._env.process(self._fail_repeatedly(group.outages.every_hours, host, group.outages))

    def _fail_once(self, after: float, devices: Sequence[_Device], failure: Crashes | Outages) -> _Process:
        yield self._env.timeout(after)
        for device in devices:
            if not device.away:
                device.away = True
                device.process.interrupt(failure)

    def _fail_repeatedly(self, hours: float, devices: Sequence[_Device], failure: Crashes | Outages) -> _Process:
        while True:
            yield from self._fail_once(float(self._random.exponential(hours * 3600)), devices, failure)


def _recovery_seconds(group: Group) -> float:
    """Return the longest time that one failure of a group can keep a run or a device from going on."""
    crash = group.crashes.noticed_within_seconds if group.crashes else 0.0
    outage = max(group.outages.noticed_within_seconds, group.outages.repair_hours * 3600) if group.outages else 0.0
    return max(crash, outage)


def _batches(rows: int, size: int) -> NDArray[np.int64]:
    whole, rest = divmod(rows, size)
    return np.array([size] * whole + ([rest] if rest else []), dtype=np.int64)
