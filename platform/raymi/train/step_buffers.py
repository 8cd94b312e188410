"""Buffers that steps are gathered into and handed out from, again and again.

Fresh memory costs a page fault every 4 KiB, which is more than copying the rows. So the tensors
of a group of steps are allocated once, and so are the batches, which are views of them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from raymi.accelerators.catalog import find
from raymi.train.batch import Batch, Step
from raymi.train.encoded_rows import SOFT_TARGETS, TARGETS
from raymi.train.order import StepCut
from raymi.train.plan import TrainPlan

_OWN = (TARGETS, SOFT_TARGETS)

Layout = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
"""Shape and type of one row of each array."""

Fill = Callable[[range, Mapping[str, Tensor]], None]
"""Writes the rows of a group of steps into tensors of as many rows."""


class Fence(Protocol):
    """A place in a device's queue of work, such as a `torch.cuda.Event`."""

    def record(self) -> None:
        """Put it behind everything that has been asked for."""

    def synchronize(self) -> None:
        """Wait until the device has passed it; at once if it was never put anywhere."""


def row_bytes(layout: Layout) -> int:
    """Size of one row."""
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in layout.values())


class StepBuffer:
    """Room for a group of steps, one after the other, and the batches cut from it.

    Args:
        layout: What a row consists of.
        cut: This worker's part of a step.
        steps_per_group: Steps that fit.
        fence: Of a GPU that copies from it, pinned, while this process goes on.
    """

    def __init__(
        self, layout: Layout, cut: StepCut, *, steps_per_group: int, fence: Fence | None = None
    ) -> None:
        self._cut = cut
        self._fence = fence
        is_pinned = fence is not None and torch.cuda.is_available()
        num_full = min(cut.global_batch_size, cut.num_rows)
        self._share = cut.share(num_full)
        with torch.inference_mode(mode=False):
            self._columns = {
                name: torch.empty(
                    (steps_per_group * self._share, *shape), dtype=dtype, pin_memory=is_pinned
                )
                for name, (shape, dtype) in layout.items()
            }
        self._full_steps = [
            self._step(index * self._share, num_full) for index in range(steps_per_group)
        ]
        num_last = cut.rows_in(cut.steps_per_epoch - 1)
        self._last_step = self._step(0, num_last)

    def room(self, group: range) -> dict[str, Tensor]:
        """The tensors to fill, once nothing reads them any more."""
        if self._fence is not None:
            self._fence.synchronize()
        num_rows = len(group) * self._cut.share(self._cut.rows_in(group.start))
        return {name: column[:num_rows] for name, column in self._columns.items()}

    def steps(self, group: range) -> list[Step]:
        """The steps of a group that has been filled in."""
        if self._cut.rows_in(group.start) < self._cut.global_batch_size:
            return [self._last_step]
        return self._full_steps[: len(group)]

    def hand_back(self) -> None:
        """Note that everything that reads it has been asked for, on the current stream."""
        if self._fence is not None:
            self._fence.record()

    def _step(self, first: int, num_rows: int) -> Step:
        weights = torch.from_numpy(self._cut.weights(num_rows))
        if self._columns[TARGETS].is_pinned():
            weights = weights.pin_memory()
        size = self._cut.micro_batch_size
        batches = [
            self._batch(first + start, weights[start : start + size])
            for start in range(0, len(weights), size)
        ]
        return Step(num_rows=num_rows, batches=tuple(batches))

    def _batch(self, first: int, weights: Tensor) -> Batch:
        rows = slice(first, first + len(weights))
        soft = self._columns.get(SOFT_TARGETS)
        return Batch(
            arrays={n: column[rows] for n, column in self._columns.items() if n not in _OWN},
            targets=self._columns[TARGETS][rows],
            weights=weights,
            soft_targets=None if soft is None else soft[rows],
        )


@dataclass(frozen=True, slots=True)
class _Filled:
    group: range
    buffer: StepBuffer
    done: Future[None] | None


class BufferRing:
    """Fills buffers in turn and hands out their steps; in the background if there are several."""

    def __init__(self, buffers: list[StepBuffer]) -> None:
        self._buffers = buffers
        self._thread = ThreadPoolExecutor(1, "raymi-rows") if len(buffers) > 1 else None

    def steps(self, groups: Iterator[range], fill: Fill) -> Iterator[Step]:
        """The steps of all groups, in order.

        The tensors of a step hold until the next one is asked for.
        """
        free = deque(self._buffers)
        ahead: deque[_Filled] = deque()
        try:
            while True:
                while free and (group := next(groups, None)) is not None:
                    ahead.append(self._start(group, free.popleft(), fill))
                if not ahead:
                    return
                filled = ahead.popleft()
                if filled.done is not None:
                    filled.done.result()
                try:
                    yield from filled.buffer.steps(filled.group)
                finally:
                    filled.buffer.hand_back()
                free.append(filled.buffer)
        finally:
            for filled in ahead:
                if filled.done is not None and not filled.done.cancel():
                    filled.done.exception()

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown()

    def _start(self, group: range, buffer: StepBuffer, fill: Fill) -> _Filled:
        if self._thread is None:
            fill(group, buffer.room(group))
            return _Filled(group, buffer, None)
        # `room` may wait for the GPU: in the thread.
        done = self._thread.submit(lambda: fill(group, buffer.room(group)))
        return _Filled(group, buffer, done)


class BufferedRows:
    """What every RowSource has that gathers groups of steps into buffers.

    Args:
        plan: The run.
        cut: This worker's part of a step.
        layout: What a row consists of.
        steps_per_group: Steps that are gathered together.
    """

    def __init__(
        self, plan: TrainPlan, cut: StepCut, layout: Layout, *, steps_per_group: int
    ) -> None:
        self._cut = cut
        self._steps_per_group = steps_per_group
        # A GPU trains from one buffer while the next is filled and a third is copied. A CPU that
        # trains has no time to fill one ahead.
        fences: list[Fence | None] = [None]
        if find(plan.accelerator).is_gpu and torch.cuda.is_available():
            fences = [torch.cuda.Event() for _ in range(3)]  # type: ignore[no-untyped-call]
        self._ring = BufferRing(
            [StepBuffer(layout, cut, steps_per_group=steps_per_group, fence=f) for f in fences]
        )

    @property
    def num_rows(self) -> int:
        """Training rows, over all workers."""
        return self._cut.num_rows

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return self._cut.steps_per_epoch

    def close(self) -> None:
        """End the thread that fills buffers ahead, if there is one."""
        self._ring.close()

    def _groups(self, first_step: int) -> Iterator[range]:
        """The groups of an epoch from `first_step` on."""
        return self._cut.groups(first_step, steps_per_group=self._steps_per_group)
