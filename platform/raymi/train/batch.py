"""Batch: what one worker feeds to one forward pass, and the protocol of whatever makes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one micro-batch as compact CPU tensors; `micro_batch_size` of them.

    The tensors may be views of a buffer that is used again: they hold until the next step's
    batches are asked for.
    """

    arrays: dict[str, Tensor]
    """Encoded rows: `numbers` prepared float32; everything else in its stored type, to be
    prepared on the accelerator."""

    targets: Tensor
    """As `Preprocessing.encode_target` gives them."""

    weights: Tensor
    """float32 (N,): 1 for a row, 0 for the padding that fills the last step of an epoch."""

    soft_targets: Tensor | None = None
    """float32 (N, num_outputs): what a teacher says, if there is one."""


@dataclass(frozen=True, slots=True)
class Step:
    """One worker's part of one optimizer step."""

    num_rows: int
    """Rows of the step over all workers: the last step of an epoch may be smaller."""

    batches: tuple[Batch, ...]
    """The same number on every worker."""


class RowSource(Protocol):
    """Training rows in the order that the spec's seed fixes, for one worker."""

    @property
    def num_rows(self) -> int:
        """Training rows, over all workers."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""

    def steps(self, epoch: int, first_step: int) -> Iterator[Step]:
        """The steps of an epoch from `first_step` on; a pure function of seed and position."""

    def close(self) -> None:
        """Let go of buffers, threads and readers."""
