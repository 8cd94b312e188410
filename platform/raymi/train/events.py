"""What happens in a run, as lines of JSON that outlive the processes that wrote them.

Rank 0 appends to `<run_dir>/events.jsonl`; the job's driver follows the file and prints. The
file is the record of a run: losses, metrics, attempts, checkpoints.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

EVENTS_FILE = "events.jsonl"

Event = dict[str, Any]
"""`{"event": kind, "time": unix seconds, ...}`."""


class EventLog:
    """Appends events; one writer at a time."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock

    def append(self, kind: str, **fields: Any) -> None:
        """Write one event as one line, in one write call."""
        line = json.dumps({"event": kind, "time": round(self._clock(), 3), **fields})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read_events(path: Path) -> list[Event]:
    """All complete events of a log; none when it does not exist."""
    return list(EventReader(path).new_events())


class EventReader:
    """Follows a log from where it last stopped; a half-written line is left for later."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_events(self) -> Iterator[Event]:
        """Events appended since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            chunk = file.read()
        complete = chunk[: chunk.rfind(b"\n") + 1]
        self._offset += len(complete)
        for line in complete.splitlines():
            yield json.loads(line)
