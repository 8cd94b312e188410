"""One column of a request: JSON values to a typed Arrow array, or the exact place of the fault.

The common case runs at C speed over whole columns: one pass over the types, one conversion.
Only when that finds something wrong does Python look at single values, to say which one.

JSON has one kind of number, so what counts is the value: 3.0 is a whole number, 3.5 is not,
and every value must fit the type the model was trained on. NaN and the infinities never fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymi.errors import RequestError
from raymi.registry.signature import InputField

ARROW_TYPES: dict[str, pa.DataType] = {
    "BOOL": pa.bool_(),
    "UINT8": pa.uint8(),
    "UINT16": pa.uint16(),
    "UINT32": pa.uint32(),
    "UINT64": pa.uint64(),
    "INT8": pa.int8(),
    "INT16": pa.int16(),
    "INT32": pa.int32(),
    "INT64": pa.int64(),
    "FP16": pa.float16(),
    "FP32": pa.float32(),
    "FP64": pa.float64(),
    "BYTES": pa.string(),
}
"""Open Inference Protocol datatype -> the Arrow type of the column it fills."""

_DEEPEST_SHAPE = 8
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_NUMBERS = {int, float}
_JSON_TYPES = {
    NoneType: "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}

Where = Callable[[int], str]
"""Row number -> the name of that row's value in the request, such as `rows[3].pixels`."""


def build_column(field: InputField, values: list[Any], where: Where) -> pa.Array:
    """Convert one value per row; a tensor may be nested like its shape, or flat.

    Raises:
        RequestError: Naming the first row whose value is not what the field takes.
    """
    if not field.shape:
        return convert(field, values, where)
    flat = flatten(values, field.shape)
    if flat is None:
        size = (math.prod(field.shape),)
        flat = []
        for row, value in enumerate(values):
            elements = flatten([value], field.shape)
            if elements is None:
                elements = flatten([value], size)
            if elements is None:
                raise _wrong_shape(field, value, where(row))
            flat += elements
    return convert(field, flat, where)


def convert(field: InputField, flat: list[Any], where: Where) -> pa.Array:
    """Convert elements in row-major order, `prod(field.shape)` of them for each row.

    Raises:
        RequestError: Naming the first row with a wrong element.
    """
    elements = _elements(field, flat)
    if elements is None:
        raise _first_fault(field, flat, where)
    return _column(field, elements)


def convert_numbers(field: InputField, numbers: np.ndarray, where: Where) -> pa.Array:
    """Convert elements that are typed already, as `convert` does.

    Raises:
        RequestError: Naming the first row with an element that does not fit.
    """
    dtype = np.dtype(ARROW_TYPES[field.datatype].to_pandas_dtype())
    column = fit_numbers(field, numbers) if numbers.dtype == dtype else None
    return convert(field, numbers.tolist(), where) if column is None else column


def fit_numbers(field: InputField, numbers: np.ndarray) -> pa.Array | None:
    """Convert elements of its type or a wider one; None if one does not fit the field."""
    dtype = np.dtype(ARROW_TYPES[field.datatype].to_pandas_dtype())
    if dtype.kind != "f" and numbers.dtype != dtype:
        limits = np.iinfo(dtype)
        if numbers.size and (numbers.min() < limits.min or numbers.max() > limits.max):
            return None
    with np.errstate(over="ignore"):
        narrow = numbers.astype(dtype, copy=False)
    return _column(field, pa.array(narrow)) if _all_fit(narrow) else None


def flatten(values: list[Any], shape: tuple[int, ...]) -> list[Any] | None:
    """Elements, in row-major order, of values that all have one shape; None if any has not."""
    for size in shape:
        if set(map(type, values)) != {list} or set(map(len, values)) != {size}:
            return None
        values = values[0] if len(values) == 1 else list(chain.from_iterable(values))
    return values


def expectation(field: InputField) -> str:
    """What belongs into a field, in words.

    >>> expectation(InputField(name="pixels", datatype="UINT8", shape=(8, 8), ...))
    'values of shape [8, 8], each a whole number from 0 to 255 (UINT8)'
    """
    words = f"{_element_words(field.datatype)} ({field.datatype})"
    if field.max_bytes is not None:
        words = f"text of 1 to {field.max_bytes} bytes in UTF-8 ({field.datatype})"
    if field.shape:
        words = f"values of shape {list(field.shape)}, each {words}"
    return f"{words}, or null" if field.nullable else words


def json_type(value: Any) -> str:
    """What a JSON value is, in words that do not repeat it."""
    return _JSON_TYPES.get(type(value), "something else")


def _column(field: InputField, elements: pa.Array) -> pa.Array:
    if not field.shape:
        return elements
    return pa.FixedSizeListArray.from_arrays(elements, math.prod(field.shape))


def _elements(field: InputField, flat: list[Any]) -> pa.Array | None:
    arrow_type = ARROW_TYPES[field.datatype]
    kinds = set(map(type, flat))
    mask = None
    if field.nullable and NoneType in kinds:
        kinds.discard(NoneType)
        mask = np.fromiter((value is None for value in flat), dtype=bool, count=len(flat))
    if field.datatype in ("BYTES", "BOOL"):
        plain = _plain(flat, kinds, arrow_type)
        return plain if plain is None or _is_short_enough(field, plain) else None
    if not kinds <= _NUMBERS:
        return None
    if mask is not None:
        flat = [0 if value is None else value for value in flat]
    numbers = _numbers(flat, kinds, np.dtype(arrow_type.to_pandas_dtype()))
    return None if numbers is None else pa.array(numbers, mask=mask)


def _plain(flat: list[Any], kinds: set[type], arrow_type: pa.DataType) -> pa.Array | None:
    if not kinds <= {str if pa.types.is_string(arrow_type) else bool}:
        return None
    try:
        return pa.array(flat, type=arrow_type)
    except UnicodeEncodeError:  # half of a surrogate pair
        return None


def _is_short_enough(field: InputField, texts: pa.Array) -> bool:
    """Whether every text of a field that is read byte by byte has a byte, and not too many."""
    if field.max_bytes is None:
        return True
    shortest, longest = pc.min_max(pc.binary_length(texts)).values()
    return bool(shortest.as_py() >= 1 and longest.as_py() <= field.max_bytes)


def _numbers(flat: list[Any], kinds: set[type], dtype: np.dtype[Any]) -> np.ndarray | None:
    try:
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                numbers = np.array(flat, dtype=dtype)
            return numbers if _all_fit(numbers) else None
        if float in kinds:
            whole = [int(value) for value in flat]
            if whole != flat:
                return None
            flat = whole
        return np.array(flat, dtype=dtype)
    except (OverflowError, ValueError):  # too large, infinite, or NaN
        return None


def _all_fit(numbers: np.ndarray) -> bool:
    """Whether a network can read them: no NaN, nothing that is infinite as a 32-bit float."""
    if numbers.dtype.kind != "f":
        return True
    if numbers.dtype == np.float64:
        return bool((np.abs(numbers) <= _largest(numbers.dtype)).all())
    return bool(np.isfinite(numbers).all())


def _largest(dtype: np.dtype[Any]) -> float:
    # Networks read 32-bit floats whatever the column was, so more would become infinite.
    return min(float(np.finfo(dtype).max), _LARGEST_FLOAT)


def _first_fault(field: InputField, flat: list[Any], where: Where) -> RequestError:
    size = math.prod(field.shape)
    for index, value in enumerate(flat):
        if _elements(field, [value]) is None:
            row, element = divmod(index, size)
            return _wrong_value(field, value, where(row), element if field.shape else None)
    raise AssertionError("a column without a wrong element was refused")


def _wrong_value(field: InputField, value: Any, name: str, element: int | None) -> RequestError:
    subject = "it" if element is None else f"element {element}"
    if value is None:
        what, found = "must not be null", "null"
    elif _is_right_type(field.datatype, value):
        what, found = "value out of range", _range_words(field, value)
    else:
        what, found = "wrong type", json_type(value)
    return RequestError(
        f"{name}: {what}",
        why=f"{subject} is {found}",
        fix=f"send {expectation(field)}",
        field=name,
    )


def _wrong_shape(field: InputField, value: Any, name: str) -> RequestError:
    shape, size = list(field.shape), math.prod(field.shape)
    if not isinstance(value, list):
        found, what = json_type(value), "must not be null" if value is None else "wrong type"
    else:
        got = _shape_of(value)
        found = f"a list of shape {got}" if got else "a list whose parts differ in length"
        what = "wrong shape"
    flat = "" if shape == [size] else f", nested or as one list of {size}"
    return RequestError(
        f"{name}: {what}",
        why=f"expected shape {shape}, got {found}",
        fix=f"send {expectation(field)}{flat}",
        field=name,
    )


def _shape_of(value: list[Any]) -> list[int] | None:
    """Shape of a nested list, its outer dimensions at least; None if it is ragged."""
    shape: list[int] = []
    level: list[Any] = [value]
    while len(shape) < _DEEPEST_SHAPE and any(isinstance(item, list) for item in level):
        lengths = {len(item) if isinstance(item, list) else -1 for item in level}
        if len(lengths) > 1:
            return None
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    return shape


def _is_right_type(datatype: str, value: Any) -> bool:
    if datatype == "BYTES":
        return isinstance(value, str)
    return datatype != "BOOL" and type(value) in _NUMBERS


def _range_words(field: InputField, value: Any) -> str:
    datatype = field.datatype
    if isinstance(value, str):
        return _text_words(value)
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, float) and math.isinf(value):
        return "infinite"
    if datatype.startswith("FP"):
        return "too large for the network's floating-point numbers"
    if isinstance(value, float) and not value.is_integer():
        return "not a whole number"
    return f"out of the range of {datatype}"


def _text_words(value: str) -> str:
    try:
        return f"text of {len(value.encode())} bytes" if value else "empty text"
    except UnicodeEncodeError:
        return "text that is not valid Unicode"


def _element_words(datatype: str) -> str:
    if datatype == "BYTES":
        return "text"
    if datatype == "BOOL":
        return "true or false"
    if datatype.startswith("FP"):
        return "a finite number"
    limits = np.iinfo(ARROW_TYPES[datatype].to_pandas_dtype())
    return f"a whole number from {limits.min} to {limits.max}"
