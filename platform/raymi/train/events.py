"""What happens in a run, as lines of JSON that outlive the processes that wrote them.

Rank 0 appends to `<run_dir>/events.jsonl`; the job's driver follows the file and prints. The
file is the record of a run: losses, metrics, attempts, checkpoints.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

EVENTS_FILE = "events.jsonl"

Event = dict[str, Any]
"""`{"event": kind, "time": unix seconds, ...}`."""


class EventLog:
    """Appends events; one writer at a time.

    A full or absent disk must not end a run: lines that cannot be written wait for the next.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._unwritten = ""
        self._lock = threading.Lock()
        self.trouble: OSError | None = None
        """Why the last lines could not be written; None: all are."""

    def append(self, kind: str, **fields: Any) -> None:
        """Write one event as one line, in one write call."""
        line = json.dumps({"event": kind, "time": round(self._clock(), 3), **fields})
        with self._lock:
            text = f"{self._unwritten}{line}\n"
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(text)
            except OSError as error:
                self.trouble = error
                # Part of it may have been written: the next attempt begins on a new line, and
                # readers skip the broken one.
                self._unwritten = f"\n{text}" if not self._unwritten else text
            else:
                self._unwritten, self.trouble = "", None


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
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read()
        except OSError:
            return
        complete = chunk[: chunk.rfind(b"\n") + 1]
        self._offset += len(complete)
        for line in complete.splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                # Cut off by a full disk; the whole event follows.
                continue
