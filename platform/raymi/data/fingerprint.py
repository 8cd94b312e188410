"""The identity of a dataset: sha256 over its content in one canonical form.

Equal content has an equal fingerprint however it was stored: file paths and formats, chunks,
shards and the time of the import do not take part. Windows of a fixed number of rows bound
the memory this needs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymi.data.hashing import integer_view
from raymi.data.tensors import tensor_shape, tensor_view, type_text
from raymi.specs.data import Split

_FORMAT = 1
_WINDOW_ROWS = 65_536


def content_fingerprint(tables: Mapping[Split, pa.Table], *, target: str | None) -> str:
    """Hash schema, target, the split of each row and every value; 64 hex digits."""
    schema = tables[Split.TRAIN].schema
    header = {
        "format": _FORMAT,
        "target": target,
        "columns": [[field.name, type_text(field.type)] for field in schema],
        "num_rows": [tables[split].num_rows for split in Split],
    }
    digest = hashlib.sha256(json.dumps(header).encode())
    for split in Split:
        table = tables[split]
        for first in range(0, table.num_rows, _WINDOW_ROWS):
            window = table.slice(first, _WINDOW_ROWS)
            for column in window.columns:
                for part in _canonical_bytes(column):
                    digest.update(part)
    return digest.hexdigest()


def _canonical_bytes(column: pa.ChunkedArray) -> list[bytes | memoryview]:
    if shape := tensor_shape(column.type):
        return [np.ascontiguousarray(tensor_view(column, shape)).data]
    if pa.types.is_null(column.type):
        return []
    array = column.combine_chunks()
    validity = np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).data
    if pa.types.is_string(array.type):
        return [validity, *_text_bytes(array.fill_null(""))]
    if pa.types.is_boolean(array.type):
        array = pc.cast(array, pa.uint8())
    if pa.types.is_temporal(array.type):
        array = integer_view(array)
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    # -0.0 equals 0.0, so both are written as 0.0.
    canonical = values + values.dtype.type(0) if values.dtype.kind == "f" else values
    return [validity, np.ascontiguousarray(canonical).data]


def _text_bytes(array: pa.Array) -> list[bytes | memoryview]:
    lengths = pc.binary_length(array).to_numpy(zero_copy_only=False).astype(np.int64)
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[[array.offset, array.offset + len(array)]]
    text = memoryview(data)[bounds[0] : bounds[1]] if data is not None else b""
    return [lengths.data, text]
