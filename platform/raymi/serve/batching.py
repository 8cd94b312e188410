"""Dynamic batching: concurrent requests share one forward pass.

A plain queue of futures. While a batch is computed, arrivals collect, and leave together as
soon as it is done. When nothing is computed, what arrives in one turn of the event loop leaves
together. Beyond that an arrival waits at most `max_wait_s` for company, and only if the batch
before it had any: a lone client never waits.

The computation has a thread of its own, so that the event loop goes on answering. For one that
takes less time than handing it to a thread and back, `computes_inline` does without.

Nothing here knows about models: items go in, results come out, in order.
"""

from __future__ import annotations

import asyncio
import math
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

    max_age_s: float = math.inf
    """Who has waited longer is refused too: nobody is there any more to read the answer."""


def sizes_up_to(max_batch_size: int) -> tuple[int, ...]:
    """Rows of the batches that stand for those of every size: 1, 2, 4, ..., the largest.

    Whatever size something changes at, there is one on either side of it.
    """
    powers = [1 << k for k in range(max_batch_size.bit_length()) if 1 << k < max_batch_size]
    return (*powers, max_batch_size)


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
        self._is_turn_awaited = False
        self.computes_inline = False
        """Compute in the event loop itself: for what takes no longer than the loop may pause."""

    @property
    def waiting_rows(self) -> int:
        """Rows that have not left yet."""
        return self._waiting_rows

    @property
    def busy_s(self) -> float:
        """For how long the current batch has been computing; 0 when none is."""
        return 0.0 if self._busy_since_s is None else self._timer.now_s() - self._busy_since_s

    def require_room(self) -> None:
        """Refuse before any work has been put into a request.

        Raises:
            OverloadedError: Too many rows are waiting already.
        """
        if self._waiting_rows >= self._limits.max_waiting_rows:
            raise _busy(f"{self._waiting_rows} rows are waiting for it already")

    async def submit(self, items: Sequence[tuple[Item, int]]) -> list[Result]:
        """Compute items, each given with its number of rows; results in the same order.

        Raises:
            OverloadedError: Too many rows are waiting already, and nothing was queued; or it
                waited too long.
            Exception: What `compute` raised for one of these items, computed alone.
        """
        self.require_room()
        loop, now_s = asyncio.get_running_loop(), self._timer.now_s()
        entries = [_Entry(item, num_rows, now_s, loop.create_future()) for item, num_rows in items]
        self._waiting.extend(entries)
        self._waiting_rows += sum(entry.num_rows for entry in entries)
        self._send_if_due()
        try:
            if len(entries) == 1:
                return [await entries[0].future]
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
        """Send a batch now if it is full; else once this turn of the event loop is over."""
        if self._busy_since_s is not None or not self._waiting:
            return
        if self._waiting_rows >= self._limits.max_batch_size:
            self._send_next()
        elif not self._is_turn_awaited:
            self._is_turn_awaited = True
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._is_turn_awaited = False
        if self._busy_since_s is not None or not self._waiting:
            return
        wait_s = self._waiting[0].arrived_s + self._limits.max_wait_s - self._timer.now_s()
        is_full = self._waiting_rows >= self._limits.max_batch_size
        if wait_s > 0 and self._expects_company and not is_full:
            if self._alarm is None:
                self._alarm = self._timer.call_later(wait_s, self._wake)
            return
        self._send_next()

    def _send_next(self) -> None:
        if batch := self._take():
            self._send(batch)

    def _wake(self) -> None:
        self._alarm = None
        self._end_turn()

    def _take(self) -> list[_Entry[Item, Result]]:
        """Remove the next batch from the queue, dropping items that nobody waits for any more."""
        batch: list[_Entry[Item, Result]] = []
        num_rows = 0
        oldest_s = self._timer.now_s() - self._limits.max_age_s
        while self._waiting:
            entry = self._waiting[0]
            if not entry.future.done() and entry.arrived_s < oldest_s:
                why = f"it could not begin within {self._limits.max_age_s:g} s"
                entry.future.set_exception(_busy(why))
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
        if self.computes_inline:
            self._deliver(batch, _compute_each(self._compute, items))
            return
        running = asyncio.get_running_loop().run_in_executor(
            self._executor, _compute_each, self._compute, items
        )
        running.add_done_callback(partial(self._collect, batch))

    def _collect(
        self,
        batch: list[_Entry[Item, Result]],
        running: asyncio.Future[Sequence[Result | Exception]],
    ) -> None:
        if running.cancelled():
            self._busy_since_s = None
            for entry in batch:
                entry.future.cancel()
            return
        self._deliver(batch, running.result())

    def _deliver(
        self, batch: list[_Entry[Item, Result]], outcomes: Sequence[Result | Exception]
    ) -> None:
        self._busy_since_s = None
        for entry, outcome in zip(batch, outcomes, strict=True):
            if entry.future.done():
                continue
            if isinstance(outcome, Exception):
                entry.future.set_exception(outcome)
            else:
                entry.future.set_result(outcome)
        self._send_if_due()


def _busy(why: str) -> OverloadedError:
    return OverloadedError(
        "the model is busy",
        why=why,
        fix="repeat the request in a second, or deploy more replicas",
        retry_after_s=1,
    )


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
