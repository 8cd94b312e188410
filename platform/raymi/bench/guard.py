"""Lets frozen processes go on if whoever froze them is killed: `python -m raymi.bench.guard`.

A process stopped by SIGSTOP cannot notice that its coordinator is gone, and would be left for
ever. This one cannot be frozen: it waits for the end of its input, and then wakes everybody
who was named there; they find their coordinator gone and leave.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterable

import psutil


class Guard:
    """The coordinator's side: a child that remembers who was ever frozen."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "raymi.bench.guard"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def remember(self, processes: Iterable[psutil.Process]) -> None:
        """Name processes before they are frozen."""
        new = [process for process in processes if process.pid not in self._known]
        self._known |= {process.pid for process in new}
        if self._process.stdin is not None and new:
            for process in new:
                self._process.stdin.write(f"{process.pid} {process.create_time()!r}\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Nobody is frozen any more."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def wake_all(lines: Iterable[str]) -> None:
    """Read `pid create_time` lines to their end, then continue whichever are still there."""
    named = [line.split() for line in lines]
    for pid, create_time in named:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(int(pid))
            if process.create_time() == float(create_time):
                process.resume()


if __name__ == "__main__":
    wake_all(sys.stdin)
