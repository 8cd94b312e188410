"""Rows of number tensors from JSON text straight to arrays: no Python object for a number.

What images and signals are asked with: a row of 784 numbers takes little more than half the time
that reading it into a list and checking that takes (0.57, median of nine turns). Whatever is not of
this form, and whatever is wrong with it, is left to the general way, `raymi.serve.rows`, which says
what is wrong and where.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from simdjson import Array, Object, Parser

from raymi.registry.signature import InputField, Signature
from raymi.serve.columns import fit_numbers
from raymi.serve.rows import PredictRequest

_MOST_BYTES = 1 << 20
"""The parser's own memory is more than ten times the text's: larger bodies go the general way."""

_NO_NUMBERS = ("BOOL", "BYTES")


class _OtherFormError(ValueError):
    """This is for the general way."""


class TensorRowsReader:
    """Reads bodies of POST /predict that hold nothing else. Belongs to one thread.

    It keeps its parser's memory, some megabytes at most: to ask for it anew for every request
    fragments the heap.
    """

    def __init__(self, *, max_rows: int) -> None:
        """Allow so many rows in a request."""
        self._max_rows = max_rows
        self._parser = Parser()

    def read(self, body: bytes, signature: Signature) -> PredictRequest | None:
        """Read a body, if it is of this form.

        Args:
            body: JSON text.
            signature: Of the model that is asked.

        Returns:
            What `raymi.serve.rows.parse_predict` makes of the same text; None: it may be wrong, or
            hold what is not read here.
        """
        if len(body) > _MOST_BYTES or not all(map(_is_number_tensor, signature.inputs)):
            return None
        try:
            return self._read(body, signature)
        except (TypeError, ValueError, LookupError, RuntimeError):
            # What the parser raises for text that is no JSON, or holds more than numbers.
            return None

    def _read(self, body: bytes, signature: Signature) -> PredictRequest:
        document = self._parser.parse(body)
        if not isinstance(document, Object):
            raise _OtherFormError
        probabilities = document.get("probabilities", False)
        if len(document) != 1 + ("probabilities" in document) or type(probabilities) is not bool:
            raise _OtherFormError
        rows = _array(document["rows"])
        if not 1 <= len(rows) <= self._max_rows:
            raise _OtherFormError
        return PredictRequest(rows=_rows(rows, body, signature), probabilities=probabilities)


def _is_number_tensor(field: InputField) -> bool:
    return bool(field.shape) and field.datatype not in _NO_NUMBERS


def _rows(rows: Array, body: bytes, signature: Signature) -> pa.RecordBatch:
    """One column for each input.

    Raises:
        _OtherFormError: Something is to be said about them.
    """
    objects = [_object(row, len(signature.inputs)) for row in rows]
    num_lists = 1
    columns: list[pa.Array] = []
    for field in signature.inputs:
        values = [_array(row[field.name]) for row in objects]
        num_lists += sum(_count_lists(value, field.shape) for value in values)
        columns.append(_column(field, values))
    # The parser flattens lists in lists, also where there should be a number.
    if body.count(b"[") != num_lists:
        raise _OtherFormError
    return pa.RecordBatch.from_arrays(columns, names=[field.name for field in signature.inputs])


def _object(value: object, num_members: int) -> Object:
    if not isinstance(value, Object) or len(value) != num_members:
        raise _OtherFormError
    return value


def _array(value: object) -> Array:
    if not isinstance(value, Array):
        raise _OtherFormError
    return value


def _count_lists(value: Array, shape: tuple[int, ...]) -> int:
    """How many lists make up a tensor, which is nested like its shape, or flat.

    Raises:
        _OtherFormError: It is neither.
    """
    is_nested = len(shape) > 1 and isinstance(value[0], Array)
    return _count_nested(value, shape if is_nested else (math.prod(shape),))


def _count_nested(value: Array, shape: tuple[int, ...]) -> int:
    if len(value) != shape[0]:
        raise _OtherFormError
    if len(shape) == 1:
        return 1
    return 1 + sum(_count_nested(_array(part), shape[1:]) for part in value)


def _column(field: InputField, values: list[Array]) -> pa.Array:
    numbers = [_numbers(field, value) for value in values]
    column = fit_numbers(field, numbers[0] if len(numbers) == 1 else np.concatenate(numbers))
    if column is None:
        raise _OtherFormError
    return column


def _numbers(field: InputField, value: Array) -> np.ndarray:
    """All numbers of a list, in row-major order; whole ones beyond 63 bits are for others."""
    if field.datatype.startswith("FP"):
        return np.frombuffer(value.as_buffer(of_type="d"), dtype=np.float64)
    return np.frombuffer(value.as_buffer(of_type="i"), dtype=np.int64)
