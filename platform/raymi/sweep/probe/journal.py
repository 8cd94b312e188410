"""The probe's journal: every measurement is written down at once, so that a killed probe goes on.

One line of JSON for each glance, memory point, window, latency and failure, and for the beginning
and end of each worker group. What was measured on other hardware or software does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raymi.store.record import Record
from raymi.sweep.evidence import Glance, Latency, MemoryPoint, ProbeEvidence, Window
from raymi.sweep.setting import Setting
from raymi.train.events import Event, EventLog, EventReader, read_events

JOURNAL_FILE = "probe.jsonl"

STARTED = "started"
"""A worker group was asked for."""

READY = "ready"
"""Its workers have met."""

ENDED = "ended"
"""It is gone."""

COMPLETE = "complete"
"""Nothing is left to measure."""

LOOKING = "looking"
"""A measurement begins: if the workers are lost before it ends, it was by these settings."""

SUSPECTED = "suspected"
"""The workers were lost while these were measured; whoever is suspected twice has failed."""

FAILED = "failed"
GIVEN_UP = "given_up"
"""Too slow at the first glance to be worth more."""

GLANCE = "glance"
MEMORY = "memory"
WINDOW = "window"
LATENCY = "latency"
ROUND = "round"
"""Every setting in the race has had its window."""


@dataclass
class Progress:
    """What a journal says is done, on the hardware that was used last."""

    glances: list[Glance] = field(default_factory=list)
    memory: list[MemoryPoint] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    given_up: dict[int, str] = field(default_factory=dict)
    suspects: set[int] = field(default_factory=set)
    """Settings that the workers were once lost with."""

    dropped: set[int] = field(default_factory=set)
    """Settings that left the race."""

    closed: set[int] = field(default_factory=set)
    """Rounds that are complete."""

    deaths: dict[int, str] = field(default_factory=dict)
    """Those failures that took the workers with them."""

    is_complete: bool = False
    machine: list[str] | None = None
    memory_limit_gib: float | None = None
    meter: str | None = None

    def take(self, event: Event) -> None:
        """Read the next line."""
        kind = event["event"]
        if kind == READY:
            self._begin(event)
        elif kind == FAILED:
            self.failures[event["setting"]] = event["why"]
            if event["died"]:
                self.deaths[event["setting"]] = event["why"]
        elif kind == SUSPECTED:
            self.suspects.add(event["setting"])
        elif kind == GIVEN_UP:
            self.given_up[event["setting"]] = event["why"]
        elif kind == ROUND:
            self.closed.add(event["round"])
            self.dropped.update(event["dropped"])
        elif kind == COMPLETE:
            self.is_complete = True
        elif kind in _MEASUREMENTS:
            _MEASUREMENTS[kind](self, event["record"])

    def _begin(self, event: Event) -> None:
        if self.machine not in (None, event["machine"]):
            # Whoever killed the workers may do so again, and again.
            fresh = Progress(failures=dict(self.deaths), deaths=self.deaths, suspects=self.suspects)
            self.__dict__.update(fresh.__dict__)
        self.machine = event["machine"]
        self.memory_limit_gib, self.meter = event["memory_limit_gib"], event["meter"]
        # The others of an unfinished round will be timed at another time.
        self.windows = [one for one in self.windows if one.round in self.closed]

    @property
    def out(self) -> set[int]:
        """Settings that nothing more is measured of."""
        return self.failures.keys() | self.given_up.keys()

    def evidence(self) -> ProbeEvidence:
        """For the decision."""
        return ProbeEvidence(
            glances=tuple(self.glances),
            memory_limit_gib=self.memory_limit_gib,
            memory=tuple(self.memory),
            windows=tuple(self.windows),
            latencies=tuple(self.latencies),
            failures=dict(self.failures),
            given_up=dict(self.given_up),
            meter=self.meter,
        )


_MEASUREMENTS: dict[str, Callable[[Progress, Any], None]] = {
    GLANCE: lambda done, record: done.glances.append(Glance.model_validate(record)),
    MEMORY: lambda done, record: done.memory.append(MemoryPoint.model_validate(record)),
    WINDOW: lambda done, record: done.windows.append(Window.model_validate(record)),
    LATENCY: lambda done, record: done.latencies.append(Latency.model_validate(record)),
}


class ProbeJournal:
    """The pen of whoever measures; one process at a time."""

    def __init__(self, probe_dir: Path) -> None:
        self._path = probe_dir / JOURNAL_FILE
        self._log: EventLog | None = None
        self._reader = EventReader(self._path)
        self._events: list[Event] = []
        self._progress = Progress()

    def note(self, kind: str, **fields: Any) -> None:
        """Write down that something happens.

        Raises:
            OSError: It cannot be written. What is not in the journal is not done: without it, a
                probe would measure the same for ever.
        """
        if self._log is None:
            _end_last_line(self._path)
            self._log = EventLog(self._path)
        self._log.append(kind, **fields)
        if self._log.trouble is not None:
            raise self._log.trouble

    def measured(self, kind: str, record: Record, **fields: Any) -> None:
        """Write down a measurement."""
        self.note(kind, record=record.model_dump(mode="json"), **fields)

    def looking(self, settings: Iterable[Setting]) -> None:
        """Write down whose fault it is if nothing is written any more."""
        self.note(LOOKING, settings=[setting.index for setting in settings])

    def fail(self, settings: Iterable[Setting], why: str, *, died: bool = False) -> None:
        """Write down that settings do not run.

        Args:
            settings: Those.
            why: For people.
            died: Whether they took the workers with them.
        """
        for setting in settings:
            self.note(FAILED, setting=setting.index, why=why, died=died)

    def give_up(self, settings: Iterable[Setting], why: str) -> None:
        """Write down that settings are not worth more."""
        for setting in settings:
            self.note(GIVEN_UP, setting=setting.index, why=why)

    def suspect(self, indices: Iterable[int]) -> None:
        """Write down what was being measured when the workers were lost for no known reason."""
        for index in indices:
            self.note(SUSPECTED, setting=index)

    def progress(self) -> Progress:
        """What is done, by whomever; not to be changed."""
        self._catch_up()
        return self._progress

    def accelerator_s(self, held_until: float | None = None) -> float:
        """See `accelerator_s`."""
        self._catch_up()
        return accelerator_s(self._events, held_until=held_until)

    def _catch_up(self) -> None:
        for event in self._reader.new_events():
            self._events.append(event)
            self._progress.take(event)


def _end_last_line(path: Path) -> None:
    """What a killed writer has left half-written must not swallow the next line."""
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")


def accelerator_s(events: Iterable[Event], *, held_until: float | None = None) -> float:
    """Workers times the seconds that groups were held; a killed one up to its last line.

    A group that nobody asked for, as under `torchrun`, counts from when it was ready.

    Args:
        events: Of a journal.
        held_until: The last group is still held at this time.
    """
    total_s, began_at, num_workers, last_at = 0.0, 0.0, 0, 0.0
    for event in events:
        kind, now = event["event"], event["time"]
        if kind == STARTED or (kind == READY and num_workers == 0):
            total_s += num_workers * (last_at - began_at)
            began_at, num_workers = now, event["num_workers"]
        elif kind == ENDED:
            total_s += num_workers * (now - began_at)
            num_workers = 0
        last_at = now
    end_at = last_at if held_until is None else max(last_at, held_until)
    return total_s + num_workers * (end_at - began_at)


def looked_at(events: Iterable[Event]) -> tuple[int, ...]:
    """Settings that were being measured when the journal ends; empty if none was."""
    found: tuple[int, ...] = ()
    for event in events:
        found = tuple(event["settings"]) if event["event"] == LOOKING else ()
    return found


def read_progress(probe_dir: Path) -> Progress:
    """What is done."""
    return ProbeJournal(probe_dir).progress()


def read_probe(probe_dir: Path) -> ProbeEvidence:
    """Everything measured so far, on the hardware that was used last."""
    return read_progress(probe_dir).evidence()


def probe_accelerator_s(probe_dir: Path) -> float:
    """Workers times the seconds that groups were held; a killed one up to its last line."""
    return accelerator_s(read_events(probe_dir / JOURNAL_FILE))


def probe_seconds_by_precision(probe_dir: Path, settings: Sequence[Setting]) -> dict[str, float]:
    """Accelerator-seconds of measurements by precision; starting up is nobody's.

    Each measurement counts from the line before it, building and warm-up included.
    """
    precisions = {setting.index: setting.precision.value for setting in settings}
    seconds: dict[str, float] = {}
    last_at, num_workers = 0.0, 0
    for event in read_events(probe_dir / JOURNAL_FILE):
        if event["event"] in (STARTED, READY):
            num_workers = event["num_workers"]
        index = event.get("record", event).get("setting")
        if index in precisions:
            name = precisions[index]
            seconds[name] = seconds.get(name, 0.0) + num_workers * (event["time"] - last_at)
        last_at = event["time"]
    return seconds
