"""What a model takes and gives, in the words of the Open Inference Protocol."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
from pydantic import JsonValue

from raymi.data.preprocessing import (
    NUM_BYTES,
    BytesFeature,
    CategoryFeature,
    ClassTarget,
    Feature,
    NumberFeature,
    NumberTarget,
    Preprocessing,
    Target,
    TensorFeature,
    TextFeature,
)
from raymi.data.version import DatasetVersion
from raymi.store.record import Record

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}
"""Arrow type as text -> datatype. Times are not here: on the wire they are FP64 seconds."""

_ELEMENT_TYPE = re.compile(r"\w+<(\w+)>\[[\d,]+\]")
_LONG_NUMBER = 1e6
_EXAMPLE_TEXT = "a few words"
"""Free text of a training row could be somebody's letter: it does not become an example."""


class InputField(Record):
    """One column of a request."""

    name: str
    """The dataset's column."""

    datatype: str
    """Open Inference Protocol type of one element, such as `UINT8`, `FP64` or `BYTES`."""

    shape: tuple[int, ...]
    """Of one row's value; empty for scalars."""

    nullable: bool
    """Whether null may stand for a missing value: it did in the training rows."""

    kind: Literal["number", "category", "tensor", "text", "bytes"]
    """How the model reads it."""

    max_bytes: int | None = None
    """Longest text in UTF-8 that is taken, and then an empty one is not; None: any text."""

    example: JsonValue
    """A value it takes."""


class OutputField(Record):
    """One column of an answer."""

    name: str
    """`label` (a class, or the next character) and `probabilities`, or `prediction`."""

    datatype: str
    """Open Inference Protocol type of one element."""

    shape: tuple[int, ...]
    """Of one row's value; empty for scalars."""

    classes: tuple[str | int | bool, ...] = ()
    """What `label` may be and what the probabilities belong to, in this order."""


class Signature(Record):
    """The contract between a model and whoever calls it."""

    inputs: tuple[InputField, ...]
    """In the order of the dataset's columns."""

    outputs: tuple[OutputField, ...]
    """In the order they are answered."""


def derive_signature(preprocessing: Preprocessing, dataset: DatasetVersion) -> Signature:
    """Tell the contract from what was fitted and the types of the dataset's columns."""
    features = {feature.column: feature for feature in preprocessing.features}
    return Signature(
        inputs=tuple(
            _input(features[column.name], column.type)
            for column in dataset.columns
            if column.name in features
        ),
        outputs=_outputs(preprocessing.target),
    )


def _input(feature: Feature, arrow_type: str) -> InputField:
    element = _ELEMENT_TYPE.fullmatch(arrow_type)
    datatype = DATATYPES.get(element[1] if element else arrow_type, "FP64")
    return InputField(
        name=feature.column,
        datatype=datatype,
        shape=feature.shape if isinstance(feature, TensorFeature) else (),
        nullable=not isinstance(feature, TensorFeature | BytesFeature) and feature.nullable,
        kind=feature.kind,
        max_bytes=feature.max_bytes if isinstance(feature, BytesFeature) else None,
        example=_example(feature, datatype),
    )


def _example(feature: Feature, datatype: str) -> JsonValue:
    """The middle of what the model was trained on, never a training row."""
    match feature:
        case NumberFeature(quantiles=quantiles, mean=mean):
            middle = quantiles[len(quantiles) // 2] if quantiles else mean
            return _number(middle, datatype)
        case CategoryFeature(vocabulary=vocabulary):
            return _category(vocabulary[0], datatype)
        case TensorFeature(shape=shape, mean=mean):
            block: JsonValue = np.full(shape, _number(mean, datatype)).tolist()
            return block
        case TextFeature():
            return _EXAMPLE_TEXT
        case BytesFeature(max_bytes=max_bytes):
            return _EXAMPLE_TEXT[:max_bytes]


def _category(text: str, datatype: str) -> JsonValue:
    if datatype == "BYTES":
        return text
    return text == "true" if datatype == "BOOL" else _number(float(text), datatype)


def _number(value: float, datatype: str) -> float | int:
    if datatype == "BOOL":
        return bool(round(value))
    if not datatype.startswith("FP"):
        return round(value)
    # Short, but a time in seconds keeps its seconds.
    return float(f"{value:.6g}") if abs(value) < _LONG_NUMBER else float(round(value))


def _outputs(target: Target) -> tuple[OutputField, ...]:
    if isinstance(target, NumberTarget):
        return (OutputField(name="prediction", datatype="FP64", shape=()),)
    classes = (
        target.classes
        if isinstance(target, ClassTarget)
        else tuple(target.labels(range(NUM_BYTES)))
    )
    return (
        OutputField(name="label", datatype=_class_datatype(classes), shape=(), classes=classes),
        OutputField(name="probabilities", datatype="FP32", shape=(len(classes),), classes=classes),
    )


def _class_datatype(classes: tuple[str | int | bool, ...]) -> str:
    if all(isinstance(value, bool) for value in classes):
        return "BOOL"
    return "INT64" if all(isinstance(value, int) for value in classes) else "BYTES"
