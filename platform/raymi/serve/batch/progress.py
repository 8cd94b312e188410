"""What a job says while it predicts: rows per second, parts done, time left."""

from __future__ import annotations

import time
from collections.abc import Callable

from raymi.serve.batch.parts import Part, PartReceipt
from raymi.train.events import EventLog
from raymi.train.follow import format_seconds

_INTERVAL_S = 2.0


class Progress:
    """Lines for people, at most one every few seconds, and events for the record.

    Args:
        say: Receives lines.
        events: Receives events.
        num_parts: All of them.
        num_done: Those of an earlier attempt.
        num_rows: To be predicted by this attempt.
        clock: Seconds.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        events: EventLog,
        *,
        num_parts: int,
        num_done: int,
        num_rows: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._events = events
        self._num_parts = num_parts
        self._num_done = num_done
        self._num_rows = num_rows
        self._clock = clock
        self._began_at: float | None = None
        self._num_before = 0
        self._num_seen = 0
        self._num_failed = 0
        self._said_at = clock()

    def rows(self, num_rows: int) -> None:
        """Rows that were predicted."""
        now = self._clock()
        self._num_seen += num_rows
        if self._began_at is None:
            # The first rows waited for actors to start: they say nothing about speed.
            self._began_at, self._num_before = now, self._num_seen
        if now - self._said_at >= _INTERVAL_S:
            self._line(now)

    def part(self, part: Part, receipt: PartReceipt) -> None:
        """A part that was published."""
        self._num_done += 1
        self._num_failed += receipt.num_failed
        self._events.append(
            "part",
            index=part.index,
            first_row=part.first,
            num_rows=part.num_rows,
            num_failed=receipt.num_failed,
            num_bytes=receipt.num_bytes,
            sha256=receipt.sha256,
        )
        if self._num_done == self._num_parts:
            self._line(self._clock())

    @property
    def rows_per_s(self) -> float | None:
        """Since the first rows came; None before the second."""
        if self._began_at is None or self._num_seen == self._num_before:
            return None
        elapsed_s = self._clock() - self._began_at
        return (self._num_seen - self._num_before) / elapsed_s if elapsed_s > 0 else None

    def _line(self, now: float) -> None:
        self._said_at = now
        rate = self.rows_per_s
        left = self._num_rows - self._num_seen
        parts = [f"parts {self._num_done}/{self._num_parts}"]
        parts.append(f"{self._num_seen:,} of {self._num_rows:,} rows")
        if self._num_failed:
            parts.append(f"{self._num_failed:,} failed")
        if rate:
            parts.append(f"{rate:,.0f} rows/s")
            if left:
                parts.append(f"eta {format_seconds(left / rate)}")
        self._say("  ".join(parts))
