"""Golden examples: rows that every replica must predict as they were predicted when registered.

They are made up from what preprocessing has learned (quantiles, vocabularies, means), so they
cover every kind of column and hold nobody's data. Whoever serves the model predicts them before it
gets traffic: other weights, another library or another backend that computes something else is
found out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from raymi.data.preprocessing import (
    BytesFeature,
    CategoryFeature,
    Feature,
    NumberFeature,
    NumberTarget,
    Preprocessing,
    TensorFeature,
    TextFeature,
)
from raymi.errors import IntegrityError
from raymi.registry.signature import DATATYPES, InputField, Signature
from raymi.specs.backend import ServingPrecision
from raymi.specs.precision import Precision

NUM_ROWS = 16
_OUTPUTS = "raymi:outputs"
_SEED = 20_260
_NULL_EVERY = 5
_WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "again")

_ARROW_TYPES = {datatype: pa.type_for_alias(name) for name, datatype in DATATYPES.items()}

_EXACT = {Precision.FP32, Precision.TF32}
_TOLERANCE, _COARSE_TOLERANCE = 1e-3, 5e-2
"""Of a probability, or in standard deviations of the target. The order of additions differs between
machines; 16-bit arithmetic rounds to three digits, and as many roundings add up as a network is
deep."""

_SERVING_TOLERANCES = {
    ServingPrecision.FP32: _TOLERANCE,
    ServingPrecision.FP8: 0.2,
    ServingPrecision.INT8: 0.2,
}
"""Made-up rows lie where a model may be unsure: whether 8 bits are good enough is measured on test
rows (`raymi tune-serving`); here a network that computes something else is to be found out."""


@dataclass(frozen=True, slots=True)
class GoldenExamples:
    """Rows and what was predicted for them."""

    rows: pa.Table
    """One column per input of the signature."""

    outputs: np.ndarray
    """float64 (N, outputs): probabilities, or one number."""

    scale: float
    """What a difference is measured in: 1, or the target's standard deviation."""

    precision: Precision
    """The arithmetic they were predicted in."""

    def require_same(
        self,
        outputs: np.ndarray,
        *,
        name: str,
        version: int,
        precision: ServingPrecision | None = None,
    ) -> None:
        """Compare with what was predicted now, (N,) or (N, outputs).

        Args:
            outputs: Probabilities, or numbers.
            name: Of the model.
            version: Of the model.
            precision: They were computed in; unset: as the examples were.

        Raises:
            IntegrityError: A difference that this arithmetic does not explain, or NaN.
        """
        found = outputs.astype(np.float64).reshape(self.outputs.shape)
        tolerance = _TOLERANCE if self.precision in _EXACT else _COARSE_TOLERANCE
        if precision is not None:
            tolerance = max(tolerance, _SERVING_TOLERANCES.get(precision, _COARSE_TOLERANCE))
        difference = np.abs(found - self.outputs).max() / self.scale
        if not difference <= tolerance:
            raise IntegrityError(
                f"{name}@{version}: does not answer its golden examples as when it was registered",
                why=f"the largest difference is {difference:.3g}, and {tolerance:g} is allowed",
                fix="train and register it again, or serve another version",
            )

    def save(self, path: Path) -> None:
        """Write an Arrow IPC file."""
        flat = pa.array(self.outputs.ravel())
        outputs = pa.FixedSizeListArray.from_arrays(flat, self.outputs.shape[1])
        table = self.rows.append_column(_OUTPUTS, outputs)
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)

    @classmethod
    def load(cls, path: Path, preprocessing: Preprocessing, precision: Precision) -> GoldenExamples:
        """Read what `save` wrote, for a model with this preprocessing."""
        with pa.ipc.open_file(path) as reader:
            table = reader.read_all().combine_chunks()
        outputs = np.array(table.column(_OUTPUTS).to_pylist(), dtype=np.float64)
        rows = table.drop_columns([_OUTPUTS])
        return cls(rows, outputs, _scale(preprocessing), precision)


def make_golden(
    preprocessing: Preprocessing,
    signature: Signature,
    predict: Callable[[pa.Table], np.ndarray],
    precision: Precision,
) -> GoldenExamples:
    """Make examples up, and predict them.

    Args:
        preprocessing: What is known about the columns.
        signature: Their types on the wire.
        predict: A table of input columns to outputs, (N,) or (N, outputs).
        precision: The arithmetic it computes in.

    Raises:
        IntegrityError: A prediction is not finite: such a model cannot be served.
    """
    rows = made_up_rows(preprocessing, signature)
    outputs = predict(rows).astype(np.float64).reshape(NUM_ROWS, -1)
    if not np.isfinite(outputs).all():
        raise IntegrityError(
            "the model answers ordinary rows with NaN or infinity",
            why="its weights, or what it computes with them, are not finite",
            fix="train again, with a smaller learning rate or a wider precision",
        )
    return GoldenExamples(rows, outputs, _scale(preprocessing), precision)


def made_up_rows(preprocessing: Preprocessing, signature: Signature) -> pa.Table:
    """Rows that cover what the columns may hold, always the same."""
    features = {feature.column: feature for feature in preprocessing.features}
    draw = np.random.default_rng(_SEED)
    columns = [_column(field, features[field.name], draw) for field in signature.inputs]
    return pa.table(columns, names=[field.name for field in signature.inputs])


def _column(field: InputField, feature: Feature, draw: np.random.Generator) -> pa.Array:
    arrow_type = _ARROW_TYPES[field.datatype]
    match feature:
        case TensorFeature(shape=shape, mean=mean, std=std):
            size = int(np.prod(shape))
            numbers = draw.normal(mean, std, NUM_ROWS * size)
            return pa.FixedSizeListArray.from_arrays(_typed(numbers, arrow_type), size)
        case NumberFeature(quantiles=quantiles, mean=mean, std=std):
            numbers = (
                draw.choice(np.array(quantiles), NUM_ROWS)
                if quantiles
                else draw.normal(mean, std, NUM_ROWS)
            )
            return _with_nulls(_typed(numbers, arrow_type), field)
        case CategoryFeature(vocabulary=vocabulary):
            texts = [vocabulary[i] for i in draw.integers(0, len(vocabulary), NUM_ROWS)]
            return _with_nulls(pa.array(texts, pa.string()).cast(arrow_type), field)
        case TextFeature():
            texts = [" ".join(draw.choice(_WORDS, 1 + row)) for row in range(NUM_ROWS)]
            return _with_nulls(pa.array(texts, pa.string()), field)
        case BytesFeature(max_bytes=max_bytes):
            texts = [" ".join(draw.choice(_WORDS, 1 + row))[:max_bytes] for row in range(NUM_ROWS)]
            return pa.array(texts, pa.string())


def _typed(numbers: np.ndarray, arrow_type: pa.DataType) -> pa.Array:
    """Numbers as the nearest ones that a column of this type can hold."""
    if pa.types.is_boolean(arrow_type):
        return pa.array(numbers >= 0.5)
    dtype = np.dtype(arrow_type.to_pandas_dtype())
    if dtype.kind == "f":
        return pa.array(numbers.astype(dtype))
    limits = np.iinfo(dtype)
    # The largest of 64 bits is not a float; the one below it is.
    high = np.nextafter(float(limits.max), 0.0) if dtype.itemsize == 8 else float(limits.max)
    return pa.array(np.clip(np.round(numbers), float(limits.min), high).astype(dtype))


def _with_nulls(values: pa.Array, field: InputField) -> pa.Array:
    if not field.nullable:
        return values
    keep = pa.array([row % _NULL_EVERY != 1 for row in range(len(values))])
    return pc.if_else(keep, values, pa.scalar(None, values.type))


def _scale(preprocessing: Preprocessing) -> float:
    target = preprocessing.target
    return target.std if isinstance(target, NumberTarget) and target.std > 0 else 1.0
