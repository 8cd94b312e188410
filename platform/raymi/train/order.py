"""Which rows each worker sees at each step, as a pure function of seed and position.

Because nothing is remembered between steps, a resumed run sees exactly the rows that an
undisturbed one would, and the rows of a step do not depend on how many workers share it or
how small its micro-batches are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one worker feeds to one forward pass."""

    rows: np.ndarray
    """int64 (micro_batch_size,) row numbers; padded with repeats at the end of an epoch."""

    weights: np.ndarray
    """float32 (micro_batch_size,): 1 for a row, 0 for padding."""


@dataclass(frozen=True, slots=True)
class RowOrder:
    """The rows of every step of a run."""

    num_rows: int
    global_batch_size: int
    micro_batch_size: int
    num_workers: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch; the last may hold fewer rows."""
        return -(-self.num_rows // self.global_batch_size)

    def epoch(self, epoch: int) -> np.ndarray:
        """A permutation of all rows, int64 (num_rows,)."""
        generator = np.random.Generator(
            np.random.Philox(np.random.SeedSequence((self.seed, epoch)))
        )
        return generator.permutation(self.num_rows)

    def step_rows(self, permutation: np.ndarray, step: int) -> np.ndarray:
        """The rows of one optimizer step (counted within the epoch), over all workers."""
        start = step * self.global_batch_size
        return permutation[start : start + self.global_batch_size]

    def micro_batches(self, rows: np.ndarray, rank: int) -> Iterator[MicroBatch]:
        """Cut a step's rows into one worker's micro-batches.

        Every worker gets the same number of micro-batches, as collectives need; what is
        missing at the end of an epoch is padding of weight 0.
        """
        per_pass = self.num_workers * self.micro_batch_size
        num_passes = -(-len(rows) // per_pass)
        share = num_passes * self.micro_batch_size
        start = rank * share
        for first in range(start, start + share, self.micro_batch_size):
            chosen = rows[first : first + self.micro_batch_size]
            weights = np.zeros(self.micro_batch_size, dtype=np.float32)
            weights[: len(chosen)] = 1.0
            padding = np.full(self.micro_batch_size - len(chosen), rows[0], dtype=rows.dtype)
            yield MicroBatch(np.concatenate([chosen, padding]), weights)
