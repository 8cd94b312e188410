"""Predictions of a batch: handed out by request, checked, written as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any

import numpy as np

from raymi.data.encoding import value_text
from raymi.data.preprocessing import NumberTarget
from raymi.evaluate.predictor import Predictions
from raymi.registry.signature import OutputField
from raymi.serve.binary import encode


def split(predictions: Predictions, sizes: Iterable[int]) -> list[Predictions]:
    """Cut into consecutive parts of so many rows each."""
    parts, start = [], 0
    for size in sizes:
        rows = predictions.outputs[start : start + size]
        parts.append(Predictions(predictions.target, rows))
        start += size
    return parts


def join(parts: Sequence[Predictions]) -> Predictions:
    """The opposite of `split`."""
    if len(parts) == 1:
        return parts[0]
    return Predictions(parts[0].target, np.concatenate([part.outputs for part in parts]))


def first_non_finite(predictions: Predictions) -> int | None:
    """The first row whose prediction holds NaN or an infinity."""
    finite = np.isfinite(predictions.outputs)
    if finite.all():
        return None
    rows = finite if finite.ndim == 1 else finite.all(axis=1)
    return int(np.argmin(rows))


def as_rows(predictions: Predictions, *, probabilities: bool) -> list[dict[str, Any]]:
    """One object per row: label (or next character) and probability, or the predicted number."""
    target = predictions.target
    if isinstance(target, NumberTarget):
        return [{"prediction": value} for value in predictions.values.tolist()]
    every_class = predictions.probabilities
    highest = every_class.max(axis=1)
    rows: list[dict[str, Any]] = [
        {"label": label, "probability": probability}
        for label, probability in zip(predictions.labels, highest.tolist(), strict=True)
    ]
    if probabilities:
        names = [value_text(label) for label in target.labels(range(every_class.shape[1]))]
        for row, each in zip(rows, every_class.tolist(), strict=True):
            row["probabilities"] = dict(zip(names, each, strict=True))
    return rows


def as_tensors(
    predictions: Predictions, outputs: Sequence[OutputField], *, binary: Set[str] = frozenset()
) -> tuple[list[dict[str, Any]], bytes]:
    """Tensors of the Open Inference Protocol, flat in row-major order.

    Args:
        predictions: Of all rows.
        outputs: What is wanted.
        binary: Names of those whose elements are wanted as bytes.

    Returns:
        The tensors, and the bytes that follow the JSON.
    """
    tensors: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for output in outputs:
        tensor: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": [predictions.num_rows, *output.shape],
        }
        elements = elements_of(predictions, output)
        if output.name in binary:
            blobs.append(encode(elements, output.datatype))
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            tensor["data"] = elements.tolist() if isinstance(elements, np.ndarray) else elements
        tensors.append(tensor)
    return tensors, b"".join(blobs)


def elements_of(predictions: Predictions, output: OutputField) -> np.ndarray | list[Any]:
    """One output's elements, flat in row-major order."""
    if isinstance(predictions.target, NumberTarget) or output.shape:
        return predictions.outputs.ravel()
    labels = list(predictions.labels)
    return [value_text(label) for label in labels] if output.datatype == "BYTES" else labels
