"""Fixed-shape Arrow columns as numpy arrays and back, without copying where the layout allows."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa


def tensor_view(column: pa.ChunkedArray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a (N, *shape) array of a fixed-size-list or fixed-shape-tensor column.

    Zero-copy (and read-only) when the column is one chunk, as one memory-mapped shard is.
    The values keep their Arrow type: `uint8` pixels stay `uint8`.
    """
    views = [_chunk_view(chunk, shape) for chunk in column.chunks if len(chunk)]
    if not views:
        return np.empty((0, *shape), dtype=value_type(column.type).to_pandas_dtype())
    return views[0] if len(views) == 1 else np.concatenate(views)


def tensor_array(values: np.ndarray) -> pa.Array:
    """Turn an (N, ...) array into a column: a list for vectors, a tensor for more dimensions."""
    shape = values.shape[1:]
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    storage = pa.FixedSizeListArray.from_arrays(flat, math.prod(shape))
    if len(shape) == 1:
        return storage
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(flat.type, shape), storage)


def tensor_shape(data_type: pa.DataType) -> tuple[int, ...]:
    """Shape of one row of a column; empty for scalars."""
    if isinstance(data_type, pa.FixedShapeTensorType):
        return tuple(data_type.shape)
    if pa.types.is_fixed_size_list(data_type):
        return (data_type.list_size,)
    return ()


def type_text(data_type: pa.DataType) -> str:
    """A type as text that does not change between Arrow releases and file formats.

    >>> type_text(pa.list_(pa.uint8(), 64)), type_text(pa.fixed_shape_tensor(pa.uint8(), [8, 8]))
    ('fixed_size_list<uint8>[64]', 'fixed_shape_tensor<uint8>[8,8]')
    """
    shape = ",".join(map(str, tensor_shape(data_type)))
    if not shape:
        return str(data_type)
    kind = "fixed_size_list" if pa.types.is_fixed_size_list(data_type) else "fixed_shape_tensor"
    return f"{kind}<{value_type(data_type)}>[{shape}]"


def value_type(data_type: pa.DataType) -> pa.DataType:
    """Arrow type of the numbers inside a fixed-shape column."""
    return data_type.value_type


def _chunk_view(chunk: pa.Array, shape: tuple[int, ...]) -> np.ndarray:
    storage = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
    flat = storage.flatten().to_numpy(zero_copy_only=True)
    view: np.ndarray = flat.reshape(len(chunk), *shape)
    return view
