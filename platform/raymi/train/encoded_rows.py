"""Rows of the shards as the compact arrays that batches are gathered from; needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from raymi.data.loading import open_shard, shards_of
from raymi.data.preprocessing import Arrays, Preprocessing
from raymi.data.version import Split
from raymi.errors import IntegrityError
from raymi.train.plan import TrainPlan

TARGETS = "targets"
"""Name of what the network is trained towards, beside the names of its inputs."""

SOFT_TARGETS = "soft_targets"
"""Name of what a teacher says about each row."""


def columns_read(preprocessing: Preprocessing) -> list[str]:
    """The columns of a table that training looks at."""
    names = [feature.column for feature in preprocessing.features]
    return list(dict.fromkeys([*names, preprocessing.target.column]))


def encode_rows(preprocessing: Preprocessing, table: pa.Table) -> Arrays:
    """Inputs in their compact form, numbers prepared for good, and targets.

    Tensors of a table of one chunk are views of it.

    Raises:
        DataError: A target is missing or unknown.
    """
    arrays = preprocessing.encode(table)
    if "numbers" in arrays:
        arrays["numbers"] = preprocessing.prepare_numbers(arrays["numbers"])
    arrays[TARGETS] = preprocessing.encode_target(table)
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def read_rows(plan: TrainPlan, rows: np.ndarray) -> Arrays:
    """Read and encode some training rows, in any order and with repeats, and no others.

    Args:
        plan: The run.
        rows: int64 (N,), at least one.

    Raises:
        IntegrityError: A shard is damaged.
        DataError: A target is missing or unknown.
    """
    unique, places = np.unique(rows, return_inverse=True)
    columns = columns_read(plan.preprocessing)
    parts = []
    first_row = 0
    for shard in shards_of(plan.dataset, Split.TRAIN):
        low, high = np.searchsorted(unique, (first_row, first_row + shard.num_rows))
        if low < high:
            table = open_shard(Path(plan.dataset_dir), shard, columns=columns)
            parts.append(table.take(pa.array(unique[low:high] - first_row)))
        first_row += shard.num_rows
    encoded = encode_rows(plan.preprocessing, pa.concat_tables(parts).combine_chunks())
    arrays = {name: array[places] for name, array in encoded.items()}
    if plan.soft_targets is not None:
        arrays[SOFT_TARGETS] = open_soft_targets(plan.soft_targets, plan)[rows]
    return arrays


def open_soft_targets(path: str, plan: TrainPlan) -> np.ndarray:
    """A teacher's outputs for every training row, memory-mapped: float32 (N, num_outputs).

    Raises:
        IntegrityError: They are not outputs for these rows.
    """
    outputs: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    expected = (plan.dataset.num_rows(Split.TRAIN), plan.preprocessing.num_outputs)
    if outputs.shape != expected or outputs.dtype != np.float32:
        raise IntegrityError(
            f"{path}: not a teacher's outputs for these rows",
            why=f"it holds {outputs.dtype} {outputs.shape} instead of float32 {expected}",
            fix="delete it; the next run asks the teacher again",
        )
    return outputs
