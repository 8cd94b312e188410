"""From rows to predictions: the one path that evaluation and serving share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import torch

from raymi.data.preprocessing import (
    Arrays,
    NextByteTarget,
    NumberTarget,
    Preprocessing,
    Target,
)
from raymi.evaluate.network import EagerNetwork, Network, load_model
from raymi.models.architecture import Architecture
from raymi.specs.precision import Precision
from raymi.train.objective import element_losses, element_scores, element_weights

MAX_CHUNK_ROWS = 1024
"""Rows in one forward pass: bounds memory, whatever the size of the table."""

MAX_CHUNK_BYTES = 1 << 16
"""Bytes of text in one forward pass; each has 256 outputs, 64 MiB in all."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What the model says about N rows."""

    target: Target
    """What is being predicted."""

    outputs: np.ndarray
    """Classification and `next_byte`: `probabilities`. Regression: `values`."""

    @property
    def probabilities(self) -> np.ndarray:
        """Not for regression: of every class, or of each byte after the text; float32 (N, C)."""
        return self._outputs_of("classification", "next_byte")

    @property
    def indices(self) -> np.ndarray:
        """Not for regression: the most probable class or byte, int64 (N,)."""
        best: np.ndarray = self.probabilities.argmax(axis=1)
        return best

    @property
    def labels(self) -> list[str | int | bool]:
        """Not for regression: the most probable class by its own name, or character."""
        indices = self.indices.tolist()
        return [] if isinstance(self.target, NumberTarget) else self.target.labels(indices)

    @property
    def values(self) -> np.ndarray:
        """Regression only: numbers in the target's own unit, float64 (N,)."""
        return self._outputs_of("regression")

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.outputs)

    def _outputs_of(self, *kinds: str) -> np.ndarray:
        if self.target.kind not in kinds:
            found = " or ".join(kinds)
            raise AttributeError(f"predictions of a {self.target.kind} have no {found} outputs")
        return self.outputs


@dataclass(frozen=True, slots=True, eq=False)
class TextScores:
    """How well each of N texts was foreseen, byte by byte."""

    losses: np.ndarray
    """Sum of -log p(byte) over the text, in nats; float64 (N,)."""

    num_correct: np.ndarray
    """Bytes that were the most probable ones; float64 (N,)."""

    num_bytes: np.ndarray
    """Bytes that were to be foreseen: all but the first; float64 (N,)."""


class Predictor:
    """A network with its preprocessing. For one caller at a time."""

    def __init__(self, network: Network, preprocessing: Preprocessing) -> None:
        self._network = network
        self._preprocessing = preprocessing
        longest = max((f.max_bytes for f in preprocessing.bytes_features), default=1)
        self._chunk_rows = max(1, min(MAX_CHUNK_ROWS, MAX_CHUNK_BYTES // longest))

    @property
    def device(self) -> torch.device:
        """Where the forward pass runs."""
        return self._network.device

    def predict(self, arrays: Arrays) -> Predictions:
        """Predict rows that `Preprocessing.encode` has turned into arrays."""
        num_rows = len(next(iter(arrays.values())))
        return self._interpret(self._forward(arrays, num_rows))

    def predict_table(self, table: pa.Table) -> Predictions:
        """Predict the rows of a table that has the feature columns."""
        outputs = [
            self._forward(self._preprocessing.encode(part), part.num_rows)
            for part in _slices(table, self._chunk_rows)
        ]
        return self._interpret(torch.cat(outputs) if outputs else self._no_rows())

    def score_texts(self, table: pa.Table) -> TextScores:
        """`next_byte` only: how well each row's text was foreseen; outputs are never kept."""
        target = self._preprocessing.target
        parts = [np.empty((3, 0))]
        for part in _slices(table, self._chunk_rows):
            outputs = self._outputs(self._preprocessing.encode(part))
            truth = torch.from_numpy(self._preprocessing.encode_target(part)).to(self.device)
            weights = element_weights(truth, torch.ones(len(truth), device=self.device), target)
            sums = [
                (values * weights).double().sum(dim=1)
                for values in (
                    element_losses(outputs, truth, target),
                    element_scores(outputs, truth, target),
                    weights,
                )
            ]
            parts.append(torch.stack(sums).cpu().numpy())
        return TextScores(*np.concatenate(parts, axis=1))

    def _forward(self, arrays: Arrays, num_rows: int) -> torch.Tensor:
        """Network outputs, (N, num_outputs) float32 on the CPU; those after a text's last byte."""
        outputs: list[torch.Tensor] = []
        for start in range(0, num_rows, self._chunk_rows):
            chunk = {k: array[start : start + self._chunk_rows] for k, array in arrays.items()}
            answers = self._outputs(chunk)
            if isinstance(self._preprocessing.target, NextByteTarget):
                answers = _after_last_byte(answers, chunk)
            outputs.append(answers.float().cpu())
        return torch.cat(outputs) if outputs else self._no_rows()

    def _outputs(self, arrays: Arrays) -> torch.Tensor:
        """One forward pass."""
        return self._network.forward(self._preprocessing.prepare(arrays))

    def _no_rows(self) -> torch.Tensor:
        return torch.empty((0, self._preprocessing.num_outputs))

    def _interpret(self, outputs: torch.Tensor) -> Predictions:
        target = self._preprocessing.target
        if isinstance(target, NumberTarget):
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
    model = load_model(weights, architecture, preprocessing, module=module)
    return Predictor(EagerNetwork(model, precision=precision, device=device), preprocessing)


def _after_last_byte(outputs: torch.Tensor, arrays: Arrays) -> torch.Tensor:
    """Of outputs (N, L, 256) those at each text's last byte, (N, 256)."""
    (octets,) = arrays.values()
    last = np.maximum((octets != 0).sum(axis=1) - 1, 0)
    rows = torch.arange(len(last), device=outputs.device)
    return outputs[rows, torch.from_numpy(last).to(outputs.device)]


def _slices(table: pa.Table, num_rows: int) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, num_rows):
        yield table.slice(start, num_rows)
