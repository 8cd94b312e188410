"""Rows to compare an exported model on: test rows, and made-up ones for what those may lack.

A row is what a client would send: plain JSON values by column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymi.data.encoding import number_values
from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.data.preprocessing import (
    BytesFeature,
    CategoryFeature,
    Feature,
    NumberFeature,
    Preprocessing,
    TensorFeature,
    TextFeature,
)
from raymi.data.tensors import tensor_view
from raymi.errors import NotFoundError, RequestError
from raymi.registry.bundle import Bundle
from raymi.registry.signature import InputField, Signature
from raymi.serve.columns import ARROW_TYPES
from raymi.serve.rows import parse_rows
from raymi.specs.data import Split

Row = dict[str, Any]

_MISSING_EVERY = 7
_UNKNOWN_EVERY = 5
_FAR_EVERY = 11
_FAR_STDS = 30.0
_TEXTS = (
    "a few words",
    "",
    "Größe & ÇA: naïve coöperation!",
    "it's 3.14, isn't it?  (yes)",
    "多言語 текст ünïcode 🙂",
    "tab\there\nand\x00there",
    "antidisestablishmentarianism " * 40,
)


def rows_of_test_split(bundle: Bundle, store_dir: Path, *, num_rows: int) -> list[Row]:
    """Rows of the test split the model was judged on, evenly spread; none if it is not there."""
    dataset = bundle.lineage.dataset
    try:
        version, directory = open_dataset(
            store_dir, dataset["name"], dataset["fingerprint"], check=False
        )
    except NotFoundError:
        return []
    table = load_split(directory, version, Split.TEST)
    chosen = np.unique(np.linspace(0, table.num_rows - 1, num_rows).astype(np.int64))
    sample = table.take(pa.array(chosen)) if table.num_rows else table
    return list(_taken(_as_json(sample, bundle.preprocessing), bundle.signature))


def made_up_rows(preprocessing: Preprocessing, signature: Signature, *, num_rows: int) -> list[Row]:
    """Rows like the training rows, but with gaps, unknown categories, outliers and odd texts.

    The same for the same model, every time.
    """
    draw = np.random.default_rng(0)
    features = {feature.column: feature for feature in preprocessing.features}
    columns = {
        field.name: [_value(features[field.name], field, row, draw) for row in range(num_rows)]
        for field in signature.inputs
    }
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    return list(_taken(rows, signature))


def _taken(rows: Iterable[Row], signature: Signature) -> Iterator[Row]:
    """Those rows that an endpoint would take, too."""
    for row in rows:
        try:
            parse_rows([row], signature, max_rows=1)
        except RequestError:
            continue
        yield row


def _as_json(table: pa.Table, preprocessing: Preprocessing) -> list[Row]:
    columns: dict[str, list[Any]] = {}
    for feature in preprocessing.features:
        column = table.column(feature.column)
        if isinstance(feature, TensorFeature):
            columns[feature.column] = tensor_view(column, feature.shape).tolist()
        elif pa.types.is_temporal(column.type):
            columns[feature.column] = [_none_if_nan(v) for v in number_values(column).tolist()]
        else:
            columns[feature.column] = [_none_if_nan(v) for v in column.to_pylist()]
    return _by_row(columns)


def _by_row(columns: dict[str, list[Any]]) -> list[Row]:
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _none_if_nan(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value


def _value(feature: Feature, field: InputField, row: int, draw: np.random.Generator) -> Any:
    if field.nullable and row % _MISSING_EVERY == _MISSING_EVERY - 1:
        return None
    match feature:
        case NumberFeature():
            return _number(feature, field.datatype, row, draw)
        case CategoryFeature():
            return _category(feature, field.datatype, row, draw)
        case TensorFeature():
            block = draw.normal(feature.mean, feature.std, feature.shape)
            return _fitting(block, field.datatype).tolist()
        case TextFeature():
            return _TEXTS[row % len(_TEXTS)]
        case BytesFeature():
            octets = _TEXTS[row % len(_TEXTS)].encode() * (1 + row % 3)
            return octets[: feature.max_bytes].decode(errors="ignore") or "a"


def _number(
    feature: NumberFeature, datatype: str, row: int, draw: np.random.Generator
) -> float | int | bool:
    value = draw.normal(feature.mean, feature.std)
    if feature.quantiles:
        shares = np.linspace(0.0, 1.0, len(feature.quantiles))
        value = float(np.interp(draw.random(), shares, feature.quantiles))
    if row % _FAR_EVERY == _FAR_EVERY - 1:
        value = feature.mean + _FAR_STDS * feature.std
    number: float | int | bool = _fitting(np.array(value), datatype).item()
    return number


def _category(
    feature: CategoryFeature, datatype: str, row: int, draw: np.random.Generator
) -> str | float | int | bool:
    text = feature.vocabulary[draw.integers(len(feature.vocabulary))]
    is_unknown = row % _UNKNOWN_EVERY == _UNKNOWN_EVERY - 1
    if datatype == "BYTES":
        return f"{text}, as never seen before" if is_unknown else text
    if datatype == "BOOL":
        return text == "true"
    number = float(text) + (float(max(map(float, feature.vocabulary))) + 1.0) * is_unknown
    known: float | int = _fitting(np.array(number), datatype).item()
    return known


def _fitting(values: np.ndarray, datatype: str) -> np.ndarray:
    """The nearest values that a type holds."""
    dtype = np.dtype(ARROW_TYPES[datatype].to_pandas_dtype())
    if dtype.kind == "f":
        return values.astype(dtype)
    if dtype.kind == "b":
        return values.round().astype(bool)
    limits = np.iinfo(dtype)
    # The largest of 64 bits is no float64; the next below is.
    highest = np.nextafter(float(limits.max), 0.0) if dtype.itemsize == 8 else limits.max
    return values.round().clip(limits.min, highest).astype(dtype)
