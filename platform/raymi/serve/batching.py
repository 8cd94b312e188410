"""Dynamic batching: concurrent requests share one forward pass.

A plain queue of futures. While a batch is computed, arrivals collect, and leave together as
soon as it is done. When nothing is computed, an arrival waits at most `max_wait_s` for company,
and only if the batch before it had any: a lone client never waits. The computation has a thread
of its own, so that the event loop goes on answering health checks.

Nothing here knows about models: items go in, results come out, in order.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from raymi.errors import OverloadedError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large, how late and how many."""

    max_batch_size: int
    """Rows in one batch. A single item may exceed it; it then travels alone."""

    max_wait_s: float
    """How long the first row of a batch may wait for company."""

    max_waiting_rows: int
    """Once so many rows wait, new requests are refused."""


class Alarm(Protocol):
    """A call that is due later and can be called off."""

    def cancel(self) -> None:
        """Call it off."""


class Timer(Protocol):
    """Where the queue reads the time and asks to be woken."""

    def now_s(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay_s: float, wake: Callable[[], None]) -> Alarm:
        """Call `wake` in `delay_s` seconds on the event loop."""


class LoopTimer:
    """The running event loop's own time."""

    def now_s(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def call_later(self, delay_s: float, wake: Callable[[], None]) -> Alarm:
        """Call `wake` in `delay_s` seconds on the event loop."""
        return asyncio.get_running_loop().call_later(delay_s, wake)


@dataclass(slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    num_rows: int
    arrived_s: float
    future: asyncio.Future[Result]


class BatchQueue(Generic[Item, Result]):
    """Collects items, computes them in batches, and hands each submitter its own results.

    Use it from one event loop only.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Item]], Sequence[Result]],
        limits: BatchLimits,
        *,
        timer: Timer | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Start with nothing waiting.

        Args:
            compute: One result per item, in order. Runs outside of the event loop. When it
                raises, each item of that batch is computed again, alone.
            limits: When a batch leaves, and when a request is refused.
            timer: Tests bring their own.
            executor: Where `compute` runs; by default one thread.
        """
        self._compute = compute
        self._limits = limits
        self._timer = timer or LoopTimer()
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="forward-pass")
        self._waiting: deque[_Entry[Item, Result]] = deque()
        self._waiting_rows = 0
        self._busy_since_s: float | None = None
        self._expects_company = True
        self._alarm: Alarm | None = None

    @property
    def waiting_rows(self) -> int:
        """Rows that have not left yet."""
        return self._waiting_rows

    @property
    def busy_s(self) -> float:
        """For how long the current batch has been computing; 0 when none is."""
        return 0.0 if self._busy_since_s is None else self._timer.now_s() - self._busy_since_s

    async def submit(self, items: Sequence[tuple[Item, int]]) -> list[Result]:
        """Compute items, each given with its number of rows; results in the same order.

        Raises:
            OverloadedError: Too many rows are waiting already; nothing was queued.
            Exception: What `compute` raised for one of these items, computed alone.
        """
        if self._waiting_rows >= self._limits.max_waiting_rows:
            raise OverloadedError(
                "the model is busy",
                why=f"{self._waiting_rows} rows are waiting for it already",
                fix="repeat the request in a second, or deploy more replicas",
                retry_after_s=1,
            )
        loop, now_s = asyncio.get_running_loop(), self._timer.now_s()
        entries = [_Entry(item, num_rows, now_s, loop.create_future()) for item, num_rows in items]
        self._waiting.extend(entries)
        self._waiting_rows += sum(entry.num_rows for entry in entries)
        self._send_if_due()
        try:
            return list(await asyncio.gather(*(entry.future for entry in entries)))
        finally:
            # One item failed, or the submitter went away: the others need not be computed.
            for entry in entries:
                entry.future.cancel()

    def compute_now(self, items: Sequence[Item]) -> Sequence[Result]:
        """Compute one batch in the same thread as all others, and wait for it: a warm-up."""
        return self._executor.submit(self._compute, items).result()

    def close(self) -> None:
        """Refuse further batches; the current one may finish."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._executor.shutdown(wait=False)

    def _send_if_due(self) -> None:
        if self._busy_since_s is not None or not self._waiting:
            return
        wait_s = self._waiting[0].arrived_s + self._limits.max_wait_s - self._timer.now_s()
        is_full = self._waiting_rows >= self._limits.max_batch_size
        if wait_s > 0 and self._expects_company and not is_full:
            if self._alarm is None:
                self._alarm = self._timer.call_later(wait_s, self._wake)
            return
        if batch := self._take():
            self._send(batch)

    def _wake(self) -> None:
        self._alarm = None
        self._send_if_due()

    def _take(self) -> list[_Entry[Item, Result]]:
        """Remove the next batch from the queue, dropping items whose submitter went away."""
        batch: list[_Entry[Item, Result]] = []
        num_rows = 0
        while self._waiting:
            entry = self._waiting[0]
            gone = entry.future.done()
            if not gone and batch and num_rows + entry.num_rows > self._limits.max_batch_size:
                break
            self._waiting.popleft()
            self._waiting_rows -= entry.num_rows
            if not gone:
                batch.append(entry)
                num_rows += entry.num_rows
        return batch

    def _send(self, batch: list[_Entry[Item, Result]]) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._busy_since_s = self._timer.now_s()
        self._expects_company = len(batch) > 1
        items = [entry.item for entry in batch]
        running = asyncio.get_running_loop().run_in_executor(
            self._executor, _compute_each, self._compute, items
        )
        running.add_done_callback(partial(self._deliver, batch))

    def _deliver(
        self,
        batch: list[_Entry[Item, Result]],
        running: asyncio.Future[Sequence[Result | Exception]],
    ) -> None:
        self._busy_since_s = None
        if running.cancelled():
            for entry in batch:
                entry.future.cancel()
            return
        for entry, outcome in zip(batch, running.result(), strict=True):
            if entry.future.done():
                continue
            if isinstance(outcome, Exception):
                entry.future.set_exception(outcome)
            else:
                entry.future.set_result(outcome)
        self._send_if_due()


def _compute_each(
    compute: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> Sequence[Result | Exception]:
    """Results in order; where an item fails even alone, its exception."""
    try:
        return compute(items)
    except Exception as error:  # noqa: BLE001 - it is handed to whoever submitted the item
        if len(items) == 1:
            return [error]
        return [outcome for item in items for outcome in _compute_each(compute, [item])]
