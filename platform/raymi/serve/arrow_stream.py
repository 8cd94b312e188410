"""Rows as an Arrow IPC stream, and predictions as one.

https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format - a stream comes from
outside: buffers must not be compressed, since a small body could unpack to more than the limit, and
every array is checked in full before anything reads it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from raymi.data.preprocessing import NumberTarget
from raymi.errors import RequestError
from raymi.evaluate.predictor import Predictions
from raymi.registry.signature import InputField, Signature
from raymi.serve.columns import build_column, convert_numbers, expectation
from raymi.serve.rows import RowPlace, missing_column, shorten, too_many_rows
from raymi.specs.paths import closest

CONTENT_TYPE = "application/vnd.apache.arrow.stream"

_COMPRESSION_SLOT = 3
"""Of the table RecordBatch in Arrow's Message.fbs: length, nodes, buffers, compression."""

_MESSAGE_HEADER_TYPE, _MESSAGE_HEADER = 1, 2
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_DICTIONARY_DATA_SLOT = 1


def parse_arrow(
    body: bytes, signature: Signature, *, max_rows: int, max_bytes: int
) -> pa.RecordBatch:
    """Check a stream against the model's signature.

    Args:
        body: The stream.
        signature: What the model takes.
        max_rows: Of one request.
        max_bytes: That its columns may take once dictionaries are written out.

    Raises:
        RequestError: 400: not a stream; 413: too many rows or bytes; 415: compressed; 422: a column
            is missing, unknown, or holds what it may not, by name.
    """
    try:
        _require_uncompressed(body)
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            batches = list(_bounded(reader, max_rows))
        table = pa.Table.from_batches(batches, schema=reader.schema)
        table.validate(full=True)
        names = table.column_names
    except (pa.ArrowException, OSError, ValueError, IndexError, struct.error) as error:
        raise RequestError(
            "the body is not an Arrow IPC stream",
            why=type(error).__name__,
            fix="write it with pyarrow.ipc.new_stream, without compression",
            status=400,
        ) from error
    if table.num_rows == 0:
        raise RequestError(
            "rows: one row or more is needed", why="the stream holds none", fix="send some"
        )
    _require_columns(names, signature)
    columns: list[pa.Array] = []
    for field in signature.inputs:
        if field.name in names:
            columns.append(_column(table.column(field.name), field, max_bytes))
        else:
            nothing = [None] * table.num_rows
            columns.append(build_column(field, nothing, RowPlace(field.name)))
    return pa.RecordBatch.from_arrays(columns, names=[field.name for field in signature.inputs])


def predictions_stream(predictions: Predictions, *, probabilities: bool) -> bytes:
    """Predictions as a stream: `label` and `probability`, or `prediction`; one row for each row."""
    target = predictions.target
    if isinstance(target, NumberTarget):
        table = pa.table({"prediction": predictions.values})
    else:
        every_class = predictions.probabilities
        columns: dict[str, pa.Array] = {
            "label": pa.array(predictions.labels),
            "probability": pa.array(every_class.max(axis=1)),
        }
        if probabilities:
            flat = pa.array(np.ascontiguousarray(every_class).ravel())
            width = every_class.shape[1]
            columns["probabilities"] = pa.FixedSizeListArray.from_arrays(flat, width)
        table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _bounded(reader: pa.RecordBatchReader, max_rows: int) -> Iterator[pa.RecordBatch]:
    """Batches, as long as they have no more rows than they may."""
    num_rows = 0
    for batch in reader:
        num_rows += batch.num_rows
        if num_rows > max_rows:
            raise too_many_rows("rows", num_rows, max_rows)
        yield batch


def _require_columns(names: list[str], signature: Signature) -> None:
    known = {field.name: field for field in signature.inputs}
    for index, name in enumerate(names):
        if name not in known or name in names[:index]:
            raise RequestError(
                f"{shorten(name)}: {'given twice' if name in known else 'unknown column'}",
                why="the model has one column of each name it was trained with",
                fix=closest(shorten(name), sorted(known)),
                field=shorten(name),
            )
    for field in signature.inputs:
        if field.name not in names and not field.nullable:
            raise missing_column(field.name, field)


def _column(column: pa.ChunkedArray, field: InputField, max_bytes: int) -> pa.Array:
    place = RowPlace(field.name)
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no chunk at all
        array = pa.concat_arrays(array.chunks)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = _written_out(array, field, max_bytes)
    if field.shape:
        return _tensor(array, field, place)
    if array.null_count == 0 and _is_number(array.type):
        return convert_numbers(field, array.to_numpy(zero_copy_only=False), place)
    _require_plain(array.type, field)
    return build_column(field, array.to_pylist(), place)


def _tensor(array: pa.Array, field: InputField, place: RowPlace) -> pa.Array:
    size = math.prod(field.shape)
    is_exact = pa.types.is_fixed_size_list(array.type) and array.type.list_size == size
    if is_exact and array.null_count == 0 and _is_number(array.type.value_type):
        elements = array.flatten()
        if elements.null_count == 0:
            return convert_numbers(field, elements.to_numpy(zero_copy_only=False), place)
    if not (pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type)):
        raise _wrong_type(field)
    return build_column(field, array.to_pylist(), place)


def _written_out(array: pa.DictionaryArray, field: InputField, max_bytes: int) -> pa.Array:
    """A column of its own values in place of references to them, if it is not too large then."""
    values = array.dictionary
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        lengths = pc.take(pc.binary_length(values), array.indices)
        if (pc.sum(lengths).as_py() or 0) > max_bytes:
            raise RequestError(
                f"{field.name}: too large",
                why=f"its texts take more than {max_bytes} bytes once they are written out",
                fix="split the request",
                field=field.name,
                status=413,
            )
    elif not (_is_number(values.type) or pa.types.is_boolean(values.type)):
        raise _wrong_type(field)
    return array.dictionary_decode()


def _is_number(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(data_type) or pa.types.is_floating(data_type))


def _require_plain(data_type: pa.DataType, field: InputField) -> None:
    is_text = pa.types.is_string(data_type) or pa.types.is_large_string(data_type)
    if not (is_text or _is_number(data_type) or pa.types.is_boolean(data_type)):
        raise _wrong_type(field)


def _wrong_type(field: InputField) -> RequestError:
    return RequestError(
        f"{field.name}: wrong type",
        why="its Arrow type is none that holds such values",
        fix=f"send {expectation(field)}",
        field=field.name,
    )


def _require_uncompressed(body: bytes) -> None:
    """Refuse a stream with a compressed batch, which only its metadata tells.

    Raises:
        RequestError: 415.
    """
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
        table = _Table.root(message.metadata.to_pybytes())
        kind = table.byte(_MESSAGE_HEADER_TYPE)
        header = table.table(_MESSAGE_HEADER)
        if kind == _DICTIONARY_BATCH and header is not None:
            header = header.table(_DICTIONARY_DATA_SLOT)
        elif kind != _RECORD_BATCH:
            continue
        if header is not None and header.has(_COMPRESSION_SLOT):
            raise RequestError(
                "the stream is compressed",
                why="a small body could unpack to more than the limit",
                fix="write it without compression",
                status=415,
            )


class _Table:
    """As much of a FlatBuffers table as is needed to find a field.

    https://flatbuffers.dev/internals/
    """

    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self._place = place
        (back,) = struct.unpack_from("<i", data, place)
        self._fields = place - back
        if not 0 <= self._fields < len(data):
            raise struct.error("a table points outside of its message")
        (self._size,) = struct.unpack_from("<H", data, self._fields)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def has(self, slot: int) -> bool:
        return self._offset(slot) != 0

    def byte(self, slot: int) -> int:
        offset = self._offset(slot)
        return self._data[self._place + offset] if offset else 0

    def table(self, slot: int) -> _Table | None:
        offset = self._offset(slot)
        if not offset:
            return None
        place = self._place + offset
        return _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0])

    def _offset(self, slot: int) -> int:
        at = 4 + 2 * slot
        if at + 2 > self._size:
            return 0
        offset: int = struct.unpack_from("<H", self._data, self._fields + at)[0]
        return offset
