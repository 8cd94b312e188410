"""What a sweep has spent so far, read from what it has left on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from raymi.sweep.evidence import Purpose, Spending
from raymi.sweep.probe.journal import probe_accelerator_s, probe_seconds_by_precision
from raymi.sweep.runs import SweepRun
from raymi.sweep.setting import Setting
from raymi.train.cost import accelerator_seconds
from raymi.train.events import EVENTS_FILE, Event, read_events

SESSION = "sweep_started"
"""The event that every driver of a sweep begins with."""


class Accounts:
    """Adds up what is on disk, so that nothing is forgotten when a driver dies."""

    def __init__(
        self,
        *,
        probe_dir: Path,
        settings: Sequence[Setting],
        events: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._probe_dir = probe_dir
        self._settings = settings
        self._events = events
        self._clock = clock
        self._runs: dict[str, SweepRun] = {}

    def add(self, runs: Iterable[SweepRun]) -> None:
        """Runs that may have cost something."""
        self._runs |= {run.run_id: run for run in runs}

    def spending(self, *, running: Iterable[str] = ()) -> Spending:
        """Everything spent until now.

        Args:
            running: Runs that hold workers at this moment.
        """
        by_purpose = dict.fromkeys(Purpose, 0.0)
        by_precision = probe_seconds_by_precision(self._probe_dir, self._settings)
        alive = set(running)
        for run in self._runs.values():
            spent_s = self._run_s(run, is_running=run.run_id in alive)
            by_purpose[run.purpose] += spent_s
            name = run.setting.precision.value
            by_precision[name] = by_precision.get(name, 0.0) + spent_s
        return Spending(
            probe_s=probe_accelerator_s(self._probe_dir),
            quality_s=by_purpose[Purpose.QUALITY],
            confirmation_s=by_purpose[Purpose.CONFIRMATION],
            wall_clock_s=wall_clock_s(read_events(self._events), now=self._clock()),
            by_precision_s=by_precision,
        )

    def _run_s(self, run: SweepRun, *, is_running: bool) -> float:
        events = read_events(run.run_dir / EVENTS_FILE)
        if is_running and events:
            events = [*events, {"event": "now", "time": self._clock()}]
        return accelerator_seconds(events)


def wall_clock_s(events: Sequence[Event], *, now: float) -> float:
    """Seconds in which some driver was at work; the last one is until now.

    A driver that was killed counts up to the last thing that it wrote.
    """
    total_s = 0.0
    began: float | None = None
    last = 0.0
    for event in events:
        if event["event"] == SESSION:
            if began is not None:
                total_s += last - began
            began = event["time"]
        last = event["time"]
    return total_s + (now - began if began is not None else 0.0)
