"""Rows of any file as the columns a model reads, and for each row that cannot be read, why not.

The rules are those of served requests: a value must fit the type the model was trained on,
whatever type it comes in. Columns are converted whole; only values that do not fit are looked
at one by one, by the same code that answers a wrong request.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymi.data.encoding import number_values
from raymi.errors import RequestError
from raymi.registry.signature import InputField, Signature
from raymi.serve.batch.contract import is_list, is_text, plain_type
from raymi.serve.columns import ARROW_TYPES, build_column

_INTEGER = r"^-?\d+$"
_NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TIMES = (pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC"))
_LARGEST_FLOAT = float(np.finfo(np.float32).max)

Mask = np.ndarray
"""One truth value for each row."""


def screen(rows: pa.Table, signature: Signature) -> tuple[pa.Table, pa.Array]:
    """Convert rows, and name the first fault of each that has one.

    A row with a fault holds fillers, so that the others can be predicted with it.

    Args:
        rows: Columns of a type that `require_inputs` has let through, or of text.
        signature: The model's contract.

    Returns:
        The input columns, and one text for each row: null, or what is wrong with it.
    """
    faults: dict[int, str] = {}
    columns = {}
    for field in signature.inputs:
        column = _one_chunk(rows.column(field.name))
        converted, wrong = _tensor(field, column) if field.shape else _scalar(field, column)
        for row in np.flatnonzero(wrong).tolist():
            if row not in faults:
                faults[row] = _fault(field, column[row])
        columns[field.name] = converted
    errors = [faults.get(row) for row in range(rows.num_rows)]
    return pa.table(columns), pa.array(errors, type=pa.string())


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, a tensor as the flat list that it is stored as."""
    chunks = [
        chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk for chunk in column.chunks
    ]
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without dictionaries and extensions."""
    if isinstance(column.type, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in column.chunks]
        return plain(pa.chunked_array(chunks, type=column.type.storage_type))
    wanted = plain_type(column.type)
    return column if wanted == column.type else pc.cast(column, wanted)


def _scalar(field: InputField, column: pa.Array) -> tuple[pa.Array, Mask]:
    column = _one_chunk(plain(pa.chunked_array([column])))
    target = ARROW_TYPES[field.datatype]
    unreadable = np.zeros(len(column), dtype=bool)
    if pa.types.is_null(column.type):
        converted = pa.nulls(len(column), target)
    elif field.datatype == "BYTES":
        converted, unreadable = _text(field, column)
    elif field.datatype == "BOOL":
        converted, unreadable = _truth(column)
    else:
        if is_text(column.type):
            column, unreadable = _numbers_in_text(column)
        elif pa.types.is_temporal(column.type):
            column = pa.array(number_values(pa.chunked_array([column])))
        converted, too_large = _fitted(column, target)
        unreadable = unreadable | too_large
    missing = _is_null(converted) & ~unreadable
    return converted, unreadable | (missing & (not field.nullable))


def _text(field: InputField, column: pa.Array) -> tuple[pa.Array, Mask]:
    texts = pc.cast(column, pa.binary())
    wrong = np.zeros(len(texts), dtype=bool)
    try:
        texts.cast(pa.string()).validate(full=True)
    except pa.ArrowInvalid:
        wrong = np.array([not _is_unicode(value) for value in texts.to_pylist()])
    if field.max_bytes is not None:
        lengths = pc.fill_null(pc.binary_length(texts), 1).to_numpy(zero_copy_only=False)
        wrong |= (lengths < 1) | (lengths > field.max_bytes)
    return pc.cast(_without(texts, wrong), pa.string()), wrong


def _is_unicode(value: bytes | None) -> bool:
    try:
        return value is None or isinstance(value.decode(), str)
    except UnicodeDecodeError:
        return False


def _truth(column: pa.Array) -> tuple[pa.Array, Mask]:
    if not is_text(column.type):
        return column, np.zeros(len(column), dtype=bool)
    values = [_TRUTH.get(text) for text in column.to_pylist()]
    converted = pa.array(values, type=pa.bool_())
    return converted, _is_null(converted) & ~_is_null(column)


def _numbers_in_text(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Text of a CSV file as numbers; of times, all of them, as seconds."""
    column = pc.cast(column, pa.string())
    if _all(pc.match_substring_regex(column, _INTEGER)):
        try:
            return pc.cast(column, pa.int64()), np.zeros(len(column), dtype=bool)
        except pa.ArrowInvalid:  # beyond 64 bits
            pass
    is_number = pc.fill_null(pc.match_substring_regex(column, _NUMBER), False)  # noqa: FBT003
    if not pc.any(is_number).as_py() and (seconds := _times(column)) is not None:
        return seconds, np.zeros(len(column), dtype=bool)
    wrong = ~is_number.to_numpy(zero_copy_only=False) & ~_is_null(column)
    return pc.cast(_without(pc.utf8_ltrim(column, characters="+"), wrong), pa.float64()), wrong


def _times(column: pa.Array) -> pa.Array | None:
    for time in _TIMES:
        try:
            return pa.array(number_values(pa.chunked_array([pc.cast(column, time)])))
        except pa.ArrowInvalid:
            continue
    return None


def _fitted(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    """Numbers of a type as those of another, and which of them it cannot hold; NaN is null."""
    if pa.types.is_decimal(values.type) or pa.types.is_floating(values.type):
        values = pc.cast(values, pa.float64())
    if pa.types.is_boolean(values.type):
        values = pc.cast(values, pa.uint8())
    missing = _is_null(values)
    numbers = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    dtype = np.dtype(target.to_pandas_dtype())
    if numbers.dtype.kind == "f":
        is_nan = np.isnan(numbers)
        missing = missing | is_nan
        numbers = np.where(is_nan, 0.0, numbers)
    if dtype.kind == "b":
        fits = np.ones(len(numbers), dtype=bool)
    elif dtype.kind == "f":
        fits = np.abs(numbers.astype(np.float64)) <= min(float(np.finfo(dtype).max), _LARGEST_FLOAT)
    elif numbers.dtype.kind == "f":
        limits = np.iinfo(dtype)
        fits = (numbers >= float(limits.min)) & (numbers < float(limits.max) + 1.0)
        fits &= np.floor(numbers) == numbers
    else:
        limits, own = np.iinfo(dtype), np.iinfo(numbers.dtype)
        fits = (numbers >= max(limits.min, own.min)) & (numbers <= min(limits.max, own.max))
    fitted = np.where(fits, numbers, 0).astype(dtype)
    return pa.array(fitted, mask=missing | ~fits), ~fits & ~missing


def _tensor(field: InputField, column: pa.Array) -> tuple[pa.Array, Mask]:
    """Blocks of numbers, flat, and which rows are no such block."""
    size = math.prod(field.shape)
    target = ARROW_TYPES[field.datatype]
    num_rows = len(column)
    values = column
    usable = np.arange(num_rows)
    per_row = 1
    for expected in _sizes(field.shape, values.type):
        lengths = pc.fill_null(pc.list_value_length(values), -1).to_numpy(zero_copy_only=False)
        good = ((lengths == expected) & ~_is_null(values)).reshape(-1, per_row).all(axis=1)
        values = values.filter(pa.array(np.repeat(good, per_row))).flatten()
        usable = usable[good]
        per_row *= expected
    elements, too_large = _fitted(values, target)
    unusable = (too_large | _is_null(elements)).reshape(-1, size).any(axis=1)
    blocks = np.zeros((num_rows, size), dtype=target.to_pandas_dtype())
    filled = pc.fill_null(elements, _zero(target)).to_numpy(zero_copy_only=False)
    blocks[usable[~unusable]] = filled.reshape(-1, size)[~unusable]
    wrong = np.ones(num_rows, dtype=bool)
    wrong[usable[~unusable]] = False
    return pa.FixedSizeListArray.from_arrays(pa.array(blocks.ravel(), type=target), size), wrong


def _zero(target: pa.DataType) -> Any:
    return False if pa.types.is_boolean(target) else 0


def _sizes(shape: Sequence[int], data_type: pa.DataType) -> Sequence[int]:
    """Of each level of lists: those of the shape, or one flat one."""
    depth = 0
    while is_list(data_type):
        depth, data_type = depth + 1, data_type.value_type
    return shape if depth == len(shape) else (math.prod(shape),)


def _fault(field: InputField, value: pa.Scalar) -> str:
    """What a server would say about the value."""
    try:
        build_column(field, [_as_sent(field, value.as_py())], lambda _row: field.name)
    except RequestError as error:
        return f"{error.what}: {error.why}"
    except UnicodeDecodeError:
        return f"{field.name}: value out of range: it is text that is not valid Unicode"
    return f"{field.name}: {field.datatype} cannot hold it"


def _as_sent(field: InputField, value: Any) -> Any:
    """A value as JSON would have carried it."""
    is_number = field.datatype not in ("BYTES", "BOOL")
    if isinstance(value, Decimal) or (isinstance(value, str) and is_number):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _without(column: pa.Array, wrong: Mask) -> pa.Array:
    return pc.if_else(pa.array(~wrong), column, pa.scalar(None, type=column.type))


def _is_null(column: pa.Array) -> Mask:
    mask: Mask = column.is_null().to_numpy(zero_copy_only=False)
    return mask


def _all(mask: pa.Array) -> bool:
    return bool(pc.all(mask).as_py()) and mask.null_count < len(mask)
