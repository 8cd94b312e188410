"""Random rows in the form that training reads, so that a probe times no reading of data.

Numbers and images are drawn from what their type holds: products of zeros run faster than those
of real data on accelerators that are limited by power.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from raymi.data.preprocessing import (
    NUM_BYTES,
    ClassTarget,
    NextByteTarget,
    NumberTarget,
    Preprocessing,
)
from raymi.train.batch import Batch, Step
from raymi.train.encoded_rows import SOFT_TARGETS, TARGETS, read_rows
from raymi.train.plan import TrainPlan

_NUM_BATCHES = 4
"""Different micro-batches of a step; after that they come again."""


class SyntheticRows:
    """Makes steps of random rows for one run."""

    def __init__(self, plan: TrainPlan, *, seed: int) -> None:
        self._preprocessing = plan.preprocessing
        self._draw = np.random.default_rng(seed)
        # One real row says what arrays there are, and their types.
        without_teacher = plan.model_copy(update={"soft_targets": None})
        sample = read_rows(without_teacher, np.zeros(1, dtype=np.int64))
        self._layout = {name: (array.shape[1:], array.dtype) for name, array in sample.items()}
        if plan.spec.distillation is not None:
            self._layout[SOFT_TARGETS] = ((plan.preprocessing.num_outputs,), np.dtype("float32"))

    def step(self, *, micro_batch_size: int, num_passes: int, num_workers: int) -> Step:
        """One worker's part of a step."""
        batches = [self.batch(micro_batch_size) for _ in range(min(num_passes, _NUM_BATCHES))]
        return Step(
            num_rows=micro_batch_size * num_passes * num_workers,
            batches=tuple(batches[i % len(batches)] for i in range(num_passes)),
        )

    def batch(self, num_rows: int) -> Batch:
        """Random rows."""
        arrays = {name: self._array(name, num_rows) for name in self._layout}
        targets = arrays.pop(TARGETS)
        soft_targets = arrays.pop(SOFT_TARGETS, None)
        return Batch(arrays, targets, torch.ones(num_rows), soft_targets)

    def _array(self, name: str, num_rows: int) -> Tensor:
        row_shape, dtype = self._layout[name]
        shape = (num_rows, *row_shape)
        if name == TARGETS:
            return torch.from_numpy(self._targets(shape, dtype))
        if np.issubdtype(dtype, np.floating):
            return torch.from_numpy(self._draw.standard_normal(shape).astype(dtype))
        return torch.from_numpy(
            self._draw.integers(0, self._num_values(name, dtype), shape).astype(dtype)
        )

    def _targets(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        match self._preprocessing.target:
            case NumberTarget():
                return self._draw.standard_normal(shape).astype(dtype)
            case ClassTarget(classes=classes):
                return self._draw.integers(0, len(classes), shape).astype(dtype)
            case NextByteTarget():
                return self._draw.integers(0, NUM_BYTES, shape).astype(dtype)

    def _num_values(self, name: str, dtype: np.dtype) -> int:
        """Integers that an input may be, from 0."""
        known: Preprocessing = self._preprocessing
        kind, _, column = name.partition(":")
        match kind:
            case "categories":
                return min(len(feature.vocabulary) + 1 for feature in known.categories)
            case "tokens":
                return next(f.num_buckets for f in known.texts if f.column == column)
            case "bytes":
                return NUM_BYTES
        return min(NUM_BYTES, int(np.iinfo(dtype).max) + 1)
