"""One actor of the pool: it loads and verifies the bundle once, then predicts screened rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from raymi.data.encoding import value_text
from raymi.data.preprocessing import NumberTarget
from raymi.evaluate.network import default_device
from raymi.evaluate.predictor import Predictions
from raymi.registry.bundle import load_bundle
from raymi.serve.batch.contract import ERROR, PREDICTION, PROBABILITIES, PROBABILITY

INPUT_PREFIX = "input:"
"""Before the names of the columns that the model reads, on their way to the actors."""

NOT_FINITE = "the model's answer is not a finite number"


@dataclass(frozen=True, slots=True)
class Charge:
    """What an actor is to hold, and what to write."""

    bundle_dir: str
    fingerprint: str
    num_threads: int
    uses_accelerator: bool
    schema: pa.Schema
    """Of the predictions."""


class PredictorActor:
    """A model in a process of its own."""

    def __init__(self, charge: Charge) -> None:
        """Check every byte of the bundle, and load it.

        Raises:
            IntegrityError: It is not the one that was registered.
        """
        torch.set_num_threads(charge.num_threads)
        bundle = load_bundle(Path(charge.bundle_dir), fingerprint=charge.fingerprint)
        device = default_device() if charge.uses_accelerator else torch.device("cpu")
        self._predictor = bundle.predictor(device)
        self._schema = charge.schema

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Replace the columns that the model reads by what it says."""
        names = [name for name in rows.column_names if name.startswith(INPUT_PREFIX)]
        inputs = rows.select(names).rename_columns([n.removeprefix(INPUT_PREFIX) for n in names])
        answers = answer_columns(self._predictor.predict_table(inputs), self._schema)
        errors = rows.column(ERROR)
        is_finite = answers.pop("is_finite")
        errors = pc.if_else(pc.or_(pc.is_valid(errors), is_finite), errors, NOT_FINITE)
        failed = pc.is_valid(errors)
        columns = {name: rows.column(name) for name in rows.column_names if name not in names}
        for name, answer in answers.items():
            column = pc.if_else(failed, pa.scalar(None, type=answer.type), answer)
            columns[name] = column
        columns[ERROR] = errors
        return pa.table({field.name: columns[field.name] for field in self._schema}).cast(
            self._schema
        )


def answer_columns(predictions: Predictions, schema: pa.Schema) -> dict[str, pa.Array]:
    """Predictions as columns of the output, and `is_finite`, whether a row has any."""
    outputs = predictions.outputs
    finite = np.isfinite(outputs)
    columns: dict[str, Any] = {
        "is_finite": pa.array(finite if finite.ndim == 1 else finite.all(axis=1))
    }
    if isinstance(predictions.target, NumberTarget):
        return {**columns, PREDICTION: pa.array(predictions.values, type=pa.float64())}
    labels = predictions.labels
    label_type = schema.field(PREDICTION).type
    if pa.types.is_string(label_type):
        labels = [value_text(label) for label in labels]
    columns[PREDICTION] = pa.array(labels, type=label_type)
    columns[PROBABILITY] = pa.array(outputs.max(axis=1), type=pa.float32())
    if schema.get_field_index(PROBABILITIES) >= 0:
        each = pa.array(np.ascontiguousarray(outputs).ravel(), type=pa.float32())
        columns[PROBABILITIES] = pa.FixedSizeListArray.from_arrays(each, outputs.shape[1])
    return columns
