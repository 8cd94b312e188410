"""The task that reads one worker's rows of a group of steps; runs in processes without torch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from raymi.data.preprocessing import Arrays
from raymi.train.encoded_rows import read_rows
from raymi.train.order import RowOrder, StepCut, row_order, step_cut
from raymi.train.plan import TrainPlan


def read_group(batch: Arrays, *, plan: str, rank: int, num_workers: int) -> Arrays:
    """Read and encode what `StepCut.rows_of` says, in its order.

    Args:
        batch: One row: `epoch`, and the steps from `first` up to (not including) `last`.
        plan: A TrainPlan as JSON.
        rank: Of the worker the rows are for.
        num_workers: Of its attempt.

    Raises:
        IntegrityError: A shard is damaged.
        DataError: A target is missing or unknown.
    """
    parsed, order, cut = _parse(plan, rank, num_workers)
    epoch, first, last = (int(np.asarray(batch[n]).item()) for n in ("epoch", "first", "last"))
    return read_rows(parsed, cut.rows_of(order, epoch, range(first, last)))


@lru_cache(maxsize=1)
def _parse(plan: str, rank: int, num_workers: int) -> tuple[TrainPlan, RowOrder, StepCut]:
    """Parsed once in a process, which runs task after task."""
    parsed = TrainPlan.model_validate_json(plan)
    cut = step_cut(parsed, rank=rank, num_workers=num_workers)
    return parsed, row_order(parsed), cut
