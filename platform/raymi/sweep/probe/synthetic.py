"""Random rows in the form that training reads, so that a probe times no reading of data.

Numbers are drawn as a network sees them, around zero with a spread of one, and images are random
bytes: an accelerator that is limited by its power multiplies zeros faster than real data.
"""

from __future__ import annotations

import math

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

_MOST_BATCHES = 4
"""Different micro-batches of a step, so that caches are as cold as they will be; after that they
come again."""

_MOST_BYTES = 32 << 20
"""Of different micro-batches; what is larger than this is in no cache."""


class SyntheticRows:
    """Makes steps of random rows for one run."""

    def __init__(self, plan: TrainPlan, *, seed: int, is_pinned: bool) -> None:
        """Look at one real row: it says what arrays there are, and their types.

        Args:
            plan: The run.
            seed: Of the rows.
            is_pinned: Whether to keep rows where a GPU can fetch them, as training does.
        """
        self._preprocessing: Preprocessing = plan.preprocessing
        self._draw = np.random.default_rng(seed)
        self._is_pinned = is_pinned
        without_teacher = plan.model_copy(update={"soft_targets": None})
        sample = read_rows(without_teacher, np.zeros(1, dtype=np.int64))
        self._layout = {name: (array.shape[1:], array.dtype) for name, array in sample.items()}
        if plan.spec.distillation is not None:
            self._layout[SOFT_TARGETS] = ((plan.preprocessing.num_outputs,), np.dtype("float32"))

    def step(self, *, micro_batch_size: int, num_passes: int, num_workers: int) -> Step:
        """One worker's part of a step."""
        row_bytes = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self._layout.values())
        affordable = _MOST_BYTES // (row_bytes * micro_batch_size)
        num_batches = max(1, min(num_passes, _MOST_BATCHES, affordable))
        batches = [self.batch(micro_batch_size) for _ in range(num_batches)]
        return Step(
            num_rows=micro_batch_size * num_passes * num_workers,
            batches=tuple(batches[i % num_batches] for i in range(num_passes)),
        )

    def batch(self, num_rows: int) -> Batch:
        """Random rows."""
        arrays = {
            name: self._tensor(name, (num_rows, *shape), dtype)
            for name, (shape, dtype) in self._layout.items()
        }
        targets = arrays.pop(TARGETS)
        soft_targets = arrays.pop(SOFT_TARGETS, None)
        return Batch(arrays, targets, torch.ones(num_rows), soft_targets)

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Tensor:
        kind, _, column = name.partition(":")
        match kind:
            case "targets":
                values = self._targets(shape)
            case "tensor":
                values = self._block(column, shape, dtype)
            case "categories":
                sizes = [len(one.vocabulary) + 1 for one in self._preprocessing.categories]
                values = self._draw.integers(0, sizes, shape)
            case "tokens":
                [text] = [one for one in self._preprocessing.texts if one.column == column]
                values = self._draw.integers(1, text.num_buckets, shape)
            case "bytes":
                values = self._draw.integers(1, NUM_BYTES, shape)
            case _:
                values = self._draw.standard_normal(shape)
        tensor = torch.from_numpy(values.astype(dtype))
        return tensor.pin_memory() if self._is_pinned else tensor

    def _targets(self, shape: tuple[int, ...]) -> np.ndarray:
        match self._preprocessing.target:
            case NumberTarget():
                return self._draw.standard_normal(shape)
            case ClassTarget(classes=classes):
                return self._draw.integers(0, len(classes), shape)
            case NextByteTarget():
                return self._draw.integers(0, NUM_BYTES, shape)

    def _block(self, column: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A fixed-shape column, as stored: standardised only on the device."""
        [feature] = [one for one in self._preprocessing.tensors if one.column == column]
        if np.issubdtype(dtype, np.floating):
            return self._draw.standard_normal(shape) * feature.std + feature.mean
        largest = 1 if dtype == np.bool_ else int(np.iinfo(dtype).max)
        return self._draw.integers(0, min(NUM_BYTES, largest + 1), shape)
