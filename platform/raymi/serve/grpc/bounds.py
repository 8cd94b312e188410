"""How many parts a message may have: an empty part takes two bytes, and unpacked a hundred.

A message of a permitted size could otherwise fill a replica's memory, and keep it from answering
anybody while it is unpacked. Elements are not parts: their number follows from bytes and rows.
"""

from __future__ import annotations

from raymi.errors import RequestError

_MOST_PARTS = 50_000
"""Tensors and their members; a model with thousands of inputs needs a tenth of it."""

_HOLD_PARTS = frozenset({5, 6})
"""Numbers of `inputs` and `outputs` in ModelInferRequest."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class _UnreadableError(Exception):
    """Left to protobuf, which says so too."""


def require_few_parts(body: bytes) -> None:
    """Refuse an inference request whose unpacking would cost far more than its size.

    Raises:
        RequestError: 413.
    """
    try:
        _count(body, 0, len(body), _MOST_PARTS, is_request=True)
    except _UnreadableError:
        return


def _count(body: bytes, at: int, end: int, left: int, *, is_request: bool) -> int:
    """How many more parts there may be after those from `at` to `end`."""
    while at < end:
        left -= 1
        if left < 0:
            raise RequestError(
                "the message has too many parts",
                why=f"its tensors and their parameters are more than {_MOST_PARTS}",
                fix="send each input of the model once, and its rows together",
                status=413,
            )
        tag, at = _varint(body, at, end)
        kind = tag & 7
        if kind == _LENGTH:
            size, at = _varint(body, at, end)
            if at + size > end:
                raise _UnreadableError
            if is_request and tag >> 3 in _HOLD_PARTS:
                left = _count(body, at, at + size, left, is_request=False)
            at += size
        elif kind == _VARINT:
            _, at = _varint(body, at, end)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise _UnreadableError
    return left


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    for position in range(at, min(end, at + _LONGEST_VARINT)):
        byte = body[position]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position + 1
        shift += 7
    raise _UnreadableError
