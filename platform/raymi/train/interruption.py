"""Being asked to leave: SIGTERM in a worker, or a note in the run's directory.

A preempted machine sends SIGTERM; a run that should shrink, grow or end is told by its driver
through the file `leave`. Either way the workers agree on a step, save, and return.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType

from raymi.store.record import write_atomically

LEAVE_FILE = "leave"
_LOOK_INTERVAL_S = 1.0
_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""SIGINT is also what `ray job stop` sends, where `RAY_JOB_STOP_SIGNAL` says so."""


class Cause(StrEnum):
    """Who wants the workers to leave."""

    PREEMPTED = "preempted"
    """This worker's machine is being taken away; the run goes on elsewhere."""

    RESIZE = "resize"
    """There is room for more workers."""

    STOP = "stop"
    """The job itself was told to end."""


class _Signal:
    """SIGTERM of this process, kept until somebody looks."""

    def __init__(self) -> None:
        self.received = threading.Event()
        self.is_training = False

    def listen(self) -> None:
        """Handle SIGTERM from now on; only the main thread may call this.

        Outside of training the earlier handler is called: an idle Ray worker must still exit.
        """
        earlier = signal.getsignal(signal.SIGTERM)

        def handle(number: int, frame: FrameType | None) -> None:
            self.received.set()
            if not self.is_training:
                if callable(earlier):
                    earlier(number, frame)
                else:
                    raise SystemExit(128 + number)

        signal.signal(signal.SIGTERM, handle)


_sigterm = _Signal()


def listen_for_sigterm() -> None:
    """Turn SIGTERM into a request to leave, in this process; call it from the main thread."""
    _sigterm.listen()


@contextmanager
def training() -> Iterator[None]:
    """While the block runs, SIGTERM only asks; it does not end the process."""
    _sigterm.is_training = True
    try:
        yield
    finally:
        _sigterm.is_training = False


class LeaveNote:
    """The file by which a driver asks all workers of a run to leave."""

    def __init__(self, run_dir: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = run_dir / LEAVE_FILE
        self._clock = clock
        self._looked_at = float("-inf")
        self._cause: Cause | None = None

    def write(self, cause: Cause) -> None:
        """Ask; the end of the job replaces a request that is already there, nothing else does.

        Raises:
            OSError: The storage is full or away; ask again.
        """
        if cause is Cause.STOP or not self._path.exists():
            write_atomically(self._path, cause.value)

    def clear(self) -> None:
        """Take the request back: the next attempt starts."""
        self._path.unlink(missing_ok=True)

    def read(self) -> Cause | None:
        """The request, if there is one; looks at the file system at most once a second."""
        now = self._clock()
        if self._cause is None and now - self._looked_at >= _LOOK_INTERVAL_S:
            self._looked_at = now
            try:
                self._cause = Cause(self._path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                self._cause = None
        return self._cause


class EndRequests:
    """How often this driver was told to end: once is a request, twice is an order."""

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def counting_end_requests() -> Iterator[EndRequests]:
    """While the block runs, SIGTERM and Ctrl-C of this driver are counted and do nothing else.

    Outside the main thread, as in a sweep's trial, signals are somebody else's business.
    """
    requests = EndRequests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return

    def count(_number: int, _frame: FrameType | None) -> None:
        requests.count += 1

    earlier = {number: signal.signal(number, count) for number in _END_SIGNALS}
    try:
        yield requests
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def cause_to_leave(note: LeaveNote) -> Cause | None:
    """Why this process should leave, or None."""
    if _sigterm.received.is_set():
        return Cause.PREEMPTED
    return note.read()
