"""From rows to predictions: the one path that evaluation and serving share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from raymi.data.preprocessing import Arrays, ClassTarget, Preprocessing, Target
from raymi.errors import IntegrityError
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.specs.precision import Precision
from raymi.train.precision import compute_context

MAX_CHUNK_ROWS = 1024
"""Rows in one forward pass: bounds memory, whatever the size of the table."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What the model says about N rows."""

    target: Target
    """What is being predicted."""

    outputs: np.ndarray
    """Classification: `probabilities`. Regression: `values`."""

    @property
    def probabilities(self) -> np.ndarray:
        """Classification only: of every class, float32 (N, C)."""
        return self._outputs_of("classification")

    @property
    def indices(self) -> np.ndarray:
        """Classification only: the most probable class, int64 (N,)."""
        best: np.ndarray = self.probabilities.argmax(axis=1)
        return best

    @property
    def labels(self) -> list[str | int | bool]:
        """Classification only: the most probable class of each row, by its own name."""
        indices = self.indices.tolist()
        return self.target.labels(indices) if isinstance(self.target, ClassTarget) else []

    @property
    def values(self) -> np.ndarray:
        """Regression only: numbers in the target's own unit, float64 (N,)."""
        return self._outputs_of("regression")

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.outputs)

    def _outputs_of(self, kind: str) -> np.ndarray:
        if self.target.kind != kind:
            raise AttributeError(f"predictions of a {self.target.kind} have no {kind} outputs")
        return self.outputs


class Predictor:
    """A network with its preprocessing, on one device. For one caller at a time."""

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        *,
        precision: Precision,
        device: torch.device | None = None,
    ) -> None:
        """Move the model to `device` (unset: an accelerator if there is one) and freeze it."""
        self._device = device or default_device()
        self._model = model.to(self._device).eval().requires_grad_(requires_grad=False)
        self._preprocessing = preprocessing
        self._precision = precision

    @property
    def device(self) -> torch.device:
        """Where the forward pass runs."""
        return self._device

    def predict(self, arrays: Arrays) -> Predictions:
        """Predict rows that `Preprocessing.encode` has turned into arrays."""
        num_rows = len(next(iter(arrays.values())))
        return self._interpret(self._forward(arrays, num_rows))

    def predict_table(self, table: pa.Table) -> Predictions:
        """Predict the rows of a table that has the feature columns."""
        outputs = [
            self._forward(self._preprocessing.encode(part), part.num_rows)
            for part in _slices(table)
        ]
        return self._interpret(torch.cat(outputs) if outputs else self._no_rows())

    def _forward(self, arrays: Arrays, num_rows: int) -> torch.Tensor:
        """Network outputs, (N, num_outputs) float32 on the CPU."""
        outputs: list[torch.Tensor] = []
        for start in range(0, num_rows, MAX_CHUNK_ROWS):
            rows = slice(start, start + MAX_CHUNK_ROWS)
            batch = self._preprocessing.prepare({k: array[rows] for k, array in arrays.items()})
            with torch.inference_mode(), compute_context(self._precision, self._device):
                inputs = {k: torch.from_numpy(v).to(self._device) for k, v in batch.items()}
                outputs.append(self._model(inputs).float().cpu())
        return torch.cat(outputs) if outputs else self._no_rows()

    def _no_rows(self) -> torch.Tensor:
        return torch.empty((0, self._preprocessing.num_outputs))

    def _interpret(self, outputs: torch.Tensor) -> Predictions:
        target = self._preprocessing.target
        if not isinstance(target, ClassTarget):
            return Predictions(target, target.values(outputs.squeeze(1).numpy()))
        return Predictions(target, torch.softmax(outputs, dim=1).numpy())


def load_predictor(
    weights: Path,
    architecture: Architecture,
    preprocessing: Preprocessing,
    *,
    precision: Precision,
    device: torch.device | None = None,
    module: ModuleType | None = None,
) -> Predictor:
    """Build the network and fill it with saved weights.

    Args:
        weights: A safetensors file with every parameter and buffer, and nothing else.
        architecture: What was trained.
        preprocessing: What it was trained with.
        precision: Arithmetic of the forward pass.
        device: Where to run; unset: an accelerator if there is one.
        module: Where the class of an architecture named `module:Class` is.

    Raises:
        IntegrityError: The file is damaged, or its tensors are not this network's.
    """
    model = build_model(architecture, preprocessing, module=module)
    try:
        model.load_state_dict(load_file(weights), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise IntegrityError(
            f"{weights}: cannot be loaded into {architecture.name}",
            why=" ".join(str(error).split())[:300],
            fix="train again: weights and architecture belong together",
        ) from error
    return Predictor(model, preprocessing, precision=precision, device=device)


def default_device() -> torch.device:
    """An accelerator if this process sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _slices(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, MAX_CHUNK_ROWS):
        yield table.slice(start, MAX_CHUNK_ROWS)
