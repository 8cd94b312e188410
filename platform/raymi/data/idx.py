"""IDX files, the format of MNIST: images as fixed-shape tensors, labels as integers.

Layout (all big-endian): two zero bytes, a type code, the number of dimensions, one uint32
per dimension, then the values. Source: http://yann.lecun.com/exdb/mnist/
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa

from raymi.data.formats import empty, read_bytes
from raymi.data.tensors import tensor_array
from raymi.errors import DataError

IMAGE_COLUMN = "image"
LABEL_COLUMN = "label"

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(images: Path, labels: Path | None) -> pa.Table:
    """Read images into column `image` and, if given, labels into column `label`.

    Raises:
        DataError: A file is damaged, or there is not one label per image.
    """
    pixels = read_idx_array(images)
    if pixels.ndim < 2:
        raise DataError(
            f"{images}: not images",
            why=f"it holds {pixels.ndim} dimension, images have at least 2",
            fix="a file of labels belongs in the `labels` of the source with its images",
        )
    columns: dict[str, pa.Array] = {IMAGE_COLUMN: tensor_array(pixels)}
    if labels is not None:
        values = read_idx_array(labels)
        if values.shape != (len(pixels),):
            raise DataError(
                f"{labels}: not one label per image",
                why=f"{images.name} has {len(pixels)} images, the labels have shape {values.shape}",
                fix="pair the images with the labels that were published with them",
            )
        columns[LABEL_COLUMN] = pa.array(values)
    return pa.table(columns)


def read_idx_array(path: Path) -> np.ndarray:
    """Read one IDX file into an array in native byte order.

    Raises:
        DataError: Wrong magic number, or more or fewer bytes than the header promises.
    """
    content = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\x00\x00" or content[2] not in _TYPES:
        raise DataError(
            f"{path}: not an IDX file",
            why=f"it starts with {content[:4].hex(' ')}, not with 00 00 and a type code",
            fix="check the path, or say what it is with `format`",
        )
    dtype, num_dimensions = np.dtype(_TYPES[content[2]]), content[3]
    header_bytes = 4 + 4 * num_dimensions
    if num_dimensions == 0 or len(content) < header_bytes:
        raise _wrong_length(path, "the header is cut short")
    shape = struct.unpack(f">{num_dimensions}I", content[4:header_bytes])
    if shape[0] == 0:
        raise empty(path)
    expected = header_bytes + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise _wrong_length(
            path, f"shape {shape} takes {expected} bytes, the file has {len(content)}"
        )
    values = np.frombuffer(content, dtype=dtype, offset=header_bytes).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _wrong_length(path: Path, why: str) -> DataError:
    return DataError(
        f"{path}: truncated or damaged IDX file",
        why=why,
        fix="copy or download it again",
    )
