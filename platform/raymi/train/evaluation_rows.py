"""Rows to judge by, from memory-mapped shards, each worker its own share; nothing is copied."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from raymi.data.gather import ShardedArrays
from raymi.data.loading import open_shards
from raymi.data.version import Split
from raymi.train.batch import Batch
from raymi.train.encoded_rows import TARGETS, columns_read, encode_rows
from raymi.train.plan import TrainPlan

MAX_PASS_ROWS = 1024
"""Rows in one forward pass, at most."""

MAX_PASS_BYTES = 1 << 16
"""Bytes of text in one; each has 256 outputs, 64 MiB in all."""


class EvaluationRows:
    """One split of a run's dataset, in the order of the source."""

    def __init__(self, plan: TrainPlan, split: Split) -> None:
        self.num_rows = plan.dataset.num_rows(split)
        self._plan = plan
        self._split = split
        self._opened: tuple[range, ShardedArrays] | None = None

    def batches(self, rank: int, num_workers: int, rows_per_batch: int) -> Iterator[Batch]:
        """One worker's contiguous share; shares differ by one row at most.

        The tensors hold until the next batch is asked for. Only the share is encoded, once.

        Raises:
            IntegrityError: A shard is damaged.
            DataError: A target is missing or unknown.
        """
        share = share_of(self.num_rows, rank, num_workers)
        if self._opened is None or self._opened[0] != share:
            self._opened = share, self._open(share)
        arrays = self._opened[1]
        with torch.inference_mode(mode=False):
            columns = {
                name: torch.empty((rows_per_batch, *column.row_shape), dtype=column.dtype)
                for name, column in arrays.columns.items()
            }
            weights = torch.ones(rows_per_batch)
        for first in range(0, len(share), rows_per_batch):
            rows = np.arange(first, min(first + rows_per_batch, len(share)))
            room = {name: column[: len(rows)] for name, column in columns.items()}
            arrays.gather(rows, room)
            targets = room.pop(TARGETS)
            yield Batch(room, targets, weights[: len(rows)])

    def passes(self, rank: int, num_workers: int) -> Iterator[Batch]:
        """One worker's share in forward passes, as many as every other worker's.

        A sharded network gathers its weights in each pass, which takes everybody. Passes beyond
        the share have rows of weight 0.

        Raises:
            IntegrityError: A shard is damaged.
            DataError: A target is missing or unknown.
        """
        longest = max((f.max_bytes for f in self._plan.preprocessing.bytes_features), default=1)
        rows_per_pass = max(1, min(MAX_PASS_ROWS, MAX_PASS_BYTES // longest))
        largest_share = len(share_of(self.num_rows, 0, num_workers))
        num_left = math.ceil(largest_share / rows_per_pass)
        last: Batch | None = None
        for batch in self.batches(rank, num_workers, rows_per_pass):
            last, num_left = batch, num_left - 1
            yield batch
        if num_left and last is None:
            # No rows of its own: those of the first worker, whose share is never smaller.
            last = next(self.batches(0, num_workers, rows_per_pass))
        while num_left and last is not None:
            num_left -= 1
            yield Batch(last.arrays, last.targets, torch.zeros_like(last.weights))

    def _open(self, share: range) -> ShardedArrays:
        """The share's part of each shard, encoded."""
        preprocessing = self._plan.preprocessing
        shards = open_shards(
            Path(self._plan.dataset_dir),
            self._plan.dataset,
            self._split,
            columns=columns_read(preprocessing),
        )
        parts = []
        first_row = 0
        for shard in shards:
            start = max(share.start - first_row, 0)
            stop = min(share.stop - first_row, shard.num_rows)
            if start < stop:
                parts.append(shard.slice(start, stop - start))
            first_row += shard.num_rows
        parts = parts or [shards[0].slice(0, 0)]
        return ShardedArrays([encode_rows(preprocessing, part) for part in parts])


def share_of(num_rows: int, rank: int, num_workers: int) -> range:
    """The rows of one worker; the first workers have one more where it does not come out even."""
    small, num_larger = divmod(num_rows, num_workers)
    start = rank * small + min(rank, num_larger)
    return range(start, start + small + (rank < num_larger))
