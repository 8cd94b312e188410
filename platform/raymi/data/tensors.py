"""Arrow columns as numpy arrays, without copying where the layout allows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def tensor_view(column: pa.ChunkedArray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a (N, *shape) array of a fixed-size-list column.

    Zero-copy (and read-only) when the column is one chunk, as one memory-mapped shard is.
    The values keep their Arrow type: `uint8` pixels stay `uint8`.
    """
    views = [_chunk_view(chunk, shape) for chunk in column.chunks if len(chunk)]
    if not views:
        return np.empty((0, *shape), dtype=np.float32)
    return views[0] if len(views) == 1 else np.concatenate(views)


def _chunk_view(chunk: pa.FixedSizeListArray, shape: tuple[int, ...]) -> np.ndarray:
    flat = chunk.flatten().to_numpy(zero_copy_only=True)
    return flat.reshape(len(chunk), *shape)
