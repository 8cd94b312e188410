"""The binary tensor extension of the Open Inference Protocol: elements as bytes behind the JSON.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md

A body is a JSON document, whose length a header tells, and then the elements of one tensor after
the other, little-endian and in row-major order. BYTES are a length in four bytes before each text,
BOOL is one byte.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from raymi.errors import RequestError

LENGTH_HEADER = "inference-header-content-length"

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Datatype -> how its elements lie in bytes; BYTES vary in length."""

_LENGTH = struct.Struct("<I")
_MOST_DIGITS = 18


class Blobs:
    """Bytes behind the JSON, handed out in order."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._taken = 0

    def take(self, size: int, place: str) -> memoryview:
        """The next so many bytes.

        Raises:
            RequestError: There are fewer.
        """
        left = len(self._data) - self._taken
        if size > left:
            raise RequestError(
                f"{place}: binary_data_size is {size}",
                why=f"{left} bytes are left behind the JSON",
                fix="append the bytes of all tensors, in the order of `inputs`",
                field=place,
            )
        start, self._taken = self._taken, self._taken + size
        return self._data[start : self._taken]

    def finish(self) -> None:
        """Check that nothing is left.

        Raises:
            RequestError: Bytes that no tensor has asked for.
        """
        if left := len(self._data) - self._taken:
            raise RequestError(
                f"{left} bytes too many behind the JSON",
                why="no tensor has asked for them in its binary_data_size",
                fix="let the sizes of `inputs` add up to what follows the JSON",
                field="inputs",
            )


def split_body(body: bytes, announced: str | None) -> tuple[bytes, memoryview]:
    """The JSON of a body, and what is behind it.

    Args:
        body: All of it.
        announced: The length header; None: there is JSON only.

    Raises:
        RequestError: 400 where the header is no number, or more than the body has.
    """
    if announced is None:
        return body, memoryview(b"")
    is_length = announced.isdecimal() and len(announced) <= _MOST_DIGITS
    if not is_length or int(announced) > len(body):
        raise RequestError(
            f"{LENGTH_HEADER}: not a length of this body",
            why=f"it must be a whole number of bytes, at most {len(body)}",
            fix="send the number of bytes of the JSON, or leave the header out",
            field=LENGTH_HEADER,
            status=400,
        )
    length = int(announced)
    return body[:length], memoryview(body)[length:]


def decode(
    blob: memoryview, datatype: str, num_elements: int, place: str
) -> np.ndarray | list[str]:
    """The elements of a tensor, (num_elements,).

    Raises:
        RequestError: Their number is another, or a text is not UTF-8.
    """
    if datatype == "BYTES":
        return _decode_texts(blob, num_elements, place)
    dtype = DTYPES[datatype]
    if len(blob) != num_elements * dtype.itemsize:
        raise _wrong_size(
            place, len(blob), f"{num_elements} elements of {datatype} take "
            f"{num_elements * dtype.itemsize}"
        )  # fmt: skip
    # The JSON before them may be of any length; Arrow wants elements at whole addresses.
    return np.require(np.frombuffer(blob, dtype=dtype), requirements="A")


def encode(values: np.ndarray | Sequence[str], datatype: str) -> bytes:
    """The bytes of elements; the opposite of `decode`."""
    if datatype != "BYTES":
        return np.asarray(values).astype(DTYPES[datatype], copy=False).tobytes()
    parts: list[bytes] = []
    for value in values:
        text = value.encode()
        parts += (_LENGTH.pack(len(text)), text)
    return b"".join(parts)


def _decode_texts(blob: memoryview, num_elements: int, place: str) -> list[str]:
    texts: list[str] = []
    start = 0
    while start + _LENGTH.size <= len(blob) and len(texts) < num_elements:
        (length,) = _LENGTH.unpack_from(blob, start)
        start += _LENGTH.size + length
        if start > len(blob):
            break
        try:
            texts.append(str(blob[start - length : start], "utf-8"))
        except UnicodeDecodeError:
            raise RequestError(
                f"{place}: not text",
                why=f"element {len(texts)} is not UTF-8",
                fix="encode every text in UTF-8",
                field=place,
            ) from None
    if start != len(blob) or len(texts) != num_elements:
        what = f"{num_elements} texts, each behind its length in four bytes, are another number"
        raise _wrong_size(place, len(blob), what)
    return texts


def _wrong_size(place: str, size: int, why: str) -> RequestError:
    return RequestError(
        f"{place}: wrong number of bytes",
        why=f"there are {size}; {why}",
        fix="make `shape`, `datatype` and the number of bytes agree",
        field=place,
    )
