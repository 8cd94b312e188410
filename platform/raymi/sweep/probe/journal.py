"""The probe's journal: every measurement is written down at once, so that a killed probe goes on.

One line of JSON for each glance, memory point, window, latency, failure, and for the beginning and
end of each worker group. What was measured on other hardware or software is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from raymi.store.record import Record
from raymi.sweep.evidence import Glance, Latency, MemoryPoint, ProbeEvidence, Window
from raymi.sweep.setting import Setting
from raymi.train.events import Event, EventLog, read_events

JOURNAL_FILE = "probe.jsonl"

STARTED, READY, ENDED = "started", "ready", "ended"
LOOKING, FAILED = "looking", "failed"
GLANCE, MEMORY, WINDOW, LATENCY = "glance", "memory", "window", "latency"
ROUND = "round"
COMPLETE = "complete"
"""Everything was measured, as far as the limits allowed."""

_RECORDS: dict[str, type[Record]] = {
    GLANCE: Glance,
    MEMORY: MemoryPoint,
    WINDOW: Window,
    LATENCY: Latency,
}


class ProbeJournal:
    """The pen of whoever measures; one process at a time."""

    def __init__(self, probe_dir: Path) -> None:
        self._log = EventLog(probe_dir / JOURNAL_FILE)

    def note(self, kind: str, **fields: Any) -> None:
        """Write down that something happens."""
        self._log.append(kind, **fields)

    def measured(self, kind: str, record: Record, **fields: Any) -> None:
        """Write down a measurement."""
        self._log.append(kind, record=record.model_dump(mode="json"), **fields)


def read_probe(probe_dir: Path, *, keep_open_round: bool = True) -> ProbeEvidence:
    """Everything measured so far, on the hardware that was used last.

    Args:
        probe_dir: Where the journal is.
        keep_open_round: Whether windows of a round that was cut off count.
    """
    events = _of_this_machine(read_events(probe_dir / JOURNAL_FILE))
    found: dict[str, list[Any]] = {kind: [] for kind in _RECORDS}
    failures: dict[int, str] = {}
    limit: float | None = None
    meter: str | None = None
    closed = {event["round"] for event in events if event["event"] == ROUND}
    for event in events:
        kind = event["event"]
        if kind in _RECORDS:
            record = _RECORDS[kind].model_validate(event["record"])
            is_open = isinstance(record, Window) and record.round not in closed
            if keep_open_round or not is_open:
                found[kind].append(record)
        elif kind == FAILED:
            failures[event["setting"]] = event["why"]
        elif kind == READY:
            limit, meter = event["memory_limit_gib"], event["meter"]
    return ProbeEvidence(
        glances=tuple(found[GLANCE]),
        memory_limit_gib=limit,
        memory=tuple(found[MEMORY]),
        windows=tuple(found[WINDOW]),
        latencies=tuple(found[LATENCY]),
        failures=failures,
        meter=meter,
    )


def probe_accelerator_s(probe_dir: Path) -> float:
    """Workers times the seconds that groups were held; a killed one up to its last line."""
    total_s, began_at, num_workers, last_at = 0.0, 0.0, 0, 0.0
    for event in read_events(probe_dir / JOURNAL_FILE):
        if event["event"] == STARTED:
            total_s += num_workers * (last_at - began_at)
            began_at, num_workers = event["time"], event["num_workers"]
        last_at = event["time"]
        if event["event"] == ENDED:
            total_s += num_workers * (last_at - began_at)
            num_workers = 0
    return total_s + num_workers * (last_at - began_at)


def probe_seconds_by_precision(probe_dir: Path, settings: Sequence[Setting]) -> dict[str, float]:
    """Accelerator-seconds of measurements by precision; starting up is nobody's.

    Each measurement counts from the line before it, warm-up included.
    """
    precisions = {setting.index: setting.precision.value for setting in settings}
    seconds: dict[str, float] = {}
    last_at, num_workers = 0.0, 0
    for event in read_events(probe_dir / JOURNAL_FILE):
        kind = event["event"]
        if kind == STARTED:
            num_workers = event["num_workers"]
        index = _setting_of(event)
        if index in precisions and kind != LOOKING:
            name = precisions[index]
            seconds[name] = seconds.get(name, 0.0) + num_workers * (event["time"] - last_at)
        last_at = event["time"]
    return seconds


def looked_at(events: Iterable[Event]) -> int | None:
    """The setting that was being measured when the journal ends; None if none was."""
    index: int | None = None
    for event in events:
        if event["event"] == LOOKING:
            index = event["setting"]
        elif event["event"] in (*_RECORDS, FAILED, ROUND, ENDED, STARTED):
            index = None
    return index


def rounds_done(probe_dir: Path) -> int:
    """Complete rounds on the hardware that was used last."""
    events = _of_this_machine(read_events(probe_dir / JOURNAL_FILE))
    return max((event["round"] + 1 for event in events if event["event"] == ROUND), default=0)


def dropped_settings(probe_dir: Path) -> set[int]:
    """Settings that left the race."""
    events = _of_this_machine(read_events(probe_dir / JOURNAL_FILE))
    return {i for event in events if event["event"] == ROUND for i in event["dropped"]}


def _of_this_machine(events: list[Event]) -> list[Event]:
    """Without what was measured before the hardware or the software changed."""
    machine: Any = None
    kept: list[Event] = []
    for event in events:
        if event["event"] == READY and event["machine"] != machine:
            if machine is not None:
                kept = [one for one in kept if one["event"] == FAILED]
            machine = event["machine"]
        kept.append(event)
    return kept


def _setting_of(event: Event) -> int | None:
    record = event.get("record", event)
    index = record.get("setting")
    return index if isinstance(index, int) else None
