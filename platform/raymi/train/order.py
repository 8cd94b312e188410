"""Which rows each worker sees at each step, as a pure function of seed and position.

Because nothing is remembered between steps, a resumed run sees exactly the rows that an
undisturbed one would, and the rows of a step do not depend on how many workers share it or
how small its micro-batches are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raymi.data.version import Split
from raymi.specs.rows import RowSourceName
from raymi.train.plan import TrainPlan


class RowOrder(Protocol):
    """All rows, once in each epoch, in an order that the seed and the epoch fix."""

    @property
    def num_rows(self) -> int:
        """Rows of an epoch."""

    def rows(self, epoch: int, first: int, last: int) -> np.ndarray:
        """Row numbers, int64, of the places from `first` up to (not including) `last`."""


class FullShuffle:
    """Every order is as likely as any other; holds 8 bytes for each row."""

    def __init__(self, num_rows: int, *, seed: int) -> None:
        self.num_rows = num_rows
        self._seed = seed
        self._drawn: tuple[int, np.ndarray] | None = None

    def rows(self, epoch: int, first: int, last: int) -> np.ndarray:
        """A part of the epoch's permutation."""
        if self._drawn is None or self._drawn[0] != epoch:
            # Draws four times as fast as numpy; the tasks that stream rows do without.
            import torch

            seeds = np.random.SeedSequence(self._seed, spawn_key=(epoch,))
            generator = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
            self._drawn = epoch, torch.randperm(self.num_rows, generator=generator).numpy()
        return self._drawn[1][first:last]


class BlockShuffle:
    """Blocks of consecutive rows in random order, their rows mixed within a window of blocks.

    What is read together lies together, and nothing is held for rows outside one window: 8
    bytes for each block. Rows of far-apart blocks can meet in a step only if the epoch's order
    of blocks puts them into one window.

    Args:
        num_rows: Rows of an epoch.
        seed: Of the run.
        block_rows: Consecutive rows in a block; the last may hold fewer.
        window_blocks: Blocks whose rows are mixed with each other.
    """

    def __init__(self, num_rows: int, *, seed: int, block_rows: int, window_blocks: int) -> None:
        self.num_rows = num_rows
        self._seed = seed
        self._block_rows = block_rows
        self._window_blocks = window_blocks
        self._num_blocks = -(-num_rows // block_rows)
        self._blocks_drawn: tuple[int, np.ndarray, int] | None = None
        self._window_drawn: tuple[tuple[int, int], np.ndarray] | None = None

    def rows(self, epoch: int, first: int, last: int) -> np.ndarray:
        """The rows of one or more windows, or of parts of them."""
        last = min(last, self.num_rows)
        parts = []
        window = self._window_at(epoch, first)
        while first < last:
            start = self._window_start(epoch, window)
            rows = self._window(epoch, window)
            parts.append(rows[first - start : last - start])
            first = start + len(rows)
            window += 1
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _blocks(self, epoch: int) -> tuple[np.ndarray, int]:
        """The epoch's order of blocks, and where in it the short one is."""
        if self._blocks_drawn is None or self._blocks_drawn[0] != epoch:
            seeds = np.random.SeedSequence(self._seed, spawn_key=(epoch,))
            blocks = _generator(seeds).permutation(self._num_blocks)
            self._blocks_drawn = epoch, blocks, int(np.argmax(blocks))
        return self._blocks_drawn[1:]

    def _window_start(self, epoch: int, window: int) -> int:
        """Rows before a window: whole blocks, unless the short one is among them."""
        num_before = min(window * self._window_blocks, self._num_blocks)
        missing = self._num_blocks * self._block_rows - self.num_rows
        is_short_before = self._blocks(epoch)[1] < num_before
        return num_before * self._block_rows - (missing if is_short_before else 0)

    def _window_at(self, epoch: int, place: int) -> int:
        """The window of a place, which the short block can only have moved one further."""
        window = place // (self._window_blocks * self._block_rows)
        while self._window_start(epoch, window + 1) <= place < self.num_rows:
            window += 1
        return window

    def _window(self, epoch: int, window: int) -> np.ndarray:
        if self._window_drawn is None or self._window_drawn[0] != (epoch, window):
            first = window * self._window_blocks
            blocks = self._blocks(epoch)[0][first : first + self._window_blocks]
            rows = (blocks[:, None] * self._block_rows + np.arange(self._block_rows)).reshape(-1)
            rows = rows[rows < self.num_rows]
            seeds = np.random.SeedSequence(self._seed, spawn_key=(epoch, window + 1))
            self._window_drawn = (epoch, window), _generator(seeds).permutation(rows)
        return self._window_drawn[1]


def row_order(plan: TrainPlan) -> RowOrder:
    """The order that a run's rows come in."""
    num_rows, seed, rows = plan.dataset.num_rows(Split.TRAIN), plan.spec.seed, plan.spec.rows
    if plan.row_source is RowSourceName.STREAM:
        return BlockShuffle(
            num_rows,
            seed=seed,
            block_rows=rows.shuffle_block_rows,
            window_blocks=rows.shuffle_window_blocks,
        )
    return FullShuffle(num_rows, seed=seed)


@dataclass(frozen=True, slots=True)
class StepCut:
    """How the rows of each step are cut into one worker's micro-batches.

    A worker takes a contiguous share of a step. All take the same number of micro-batches, as
    collectives need; what is missing is padding of weight 0: the step's first row again.
    """

    num_rows: int
    global_batch_size: int
    micro_batch_size: int
    num_workers: int
    rank: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch; the last may hold fewer rows."""
        return -(-self.num_rows // self.global_batch_size)

    def rows_in(self, step: int) -> int:
        """Rows of a step (counted within the epoch) over all workers."""
        return min(self.global_batch_size, self.num_rows - step * self.global_batch_size)

    def share(self, num_rows: int) -> int:
        """Rows that each worker takes of a step with `num_rows`, with padding."""
        per_pass = self.num_workers * self.micro_batch_size
        return -(-num_rows // per_pass) * self.micro_batch_size

    def weights(self, num_rows: int) -> np.ndarray:
        """float32 (share,): 1 for a row, 0 for padding."""
        share = self.share(num_rows)
        places = np.arange(self.rank * share, (self.rank + 1) * share)
        return (places < num_rows).astype(np.float32)

    def groups(self, first_step: int, *, steps_per_group: int) -> Iterator[range]:
        """The epoch's steps from `first_step` on, in groups of steps of one size."""
        num_full = self.num_rows // self.global_batch_size
        step = first_step
        while step < num_full:
            stop = min((step // steps_per_group + 1) * steps_per_group, num_full)
            yield range(step, stop)
            step = stop
        if step < self.steps_per_epoch:
            yield range(step, self.steps_per_epoch)

    def rows_of(self, order: RowOrder, epoch: int, group: range) -> np.ndarray:
        """int64 (steps of the group x share,): this worker's rows, with padding."""
        num_rows = self.rows_in(group.start)
        first = group.start * self.global_batch_size
        rows = order.rows(epoch, first, first + len(group) * num_rows)
        steps = rows.reshape(len(group), num_rows)
        share = self.share(num_rows)
        chosen = steps[:, self.rank * share : (self.rank + 1) * share]
        missing = share - chosen.shape[1]
        if missing:
            chosen = np.concatenate([chosen, np.repeat(steps[:, :1], missing, axis=1)], axis=1)
        return chosen.reshape(-1)


def step_cut(plan: TrainPlan, *, rank: int, num_workers: int) -> StepCut:
    """How one worker's part of a run's steps is cut."""
    return StepCut(
        num_rows=plan.dataset.num_rows(Split.TRAIN),
        global_batch_size=plan.spec.batch.global_batch_size,
        micro_batch_size=plan.micro_batch_size,
        num_workers=num_workers,
        rank=rank,
    )


def num_passes(plan: TrainPlan, *, num_workers: int) -> int:
    """Micro-batches of each worker in a whole step."""
    cut = step_cut(plan, rank=0, num_workers=num_workers)
    return cut.share(cut.global_batch_size) // cut.micro_batch_size


def _generator(seeds: np.random.SeedSequence) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seeds))
