"""One HTTP/1.1 request as bytes, and as much of its answer as a load generator needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_END_OF_HEADERS = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_STATUS = slice(9, 12)


def request_bytes(
    path: str, body: bytes, *, content_type: str, headers: Mapping[str, str] | None = None
) -> bytes:
    """A POST request on a connection that is kept."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + _END_OF_HEADERS + body


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    """HTTP status."""

    keeps_connection: bool
    """Whether another request may be sent on the same connection."""

    body: bytes
    """Without its framing, where it came in one piece."""


def parse_answer(received: bytes) -> Answer | None:
    """An answer, once all of it has arrived; None before."""
    end = received.find(_END_OF_HEADERS)
    if end < 0:
        return None
    head = received[:end].lower()
    start = end + len(_END_OF_HEADERS)
    if (at := head.find(b"\r\ncontent-length:")) >= 0:
        stop = head.find(b"\r\n", at + 2)
        length = int(head[at + 17 : stop if stop >= 0 else None])
        if len(received) < start + length:
            return None
    elif b"transfer-encoding: chunked" in head and not received.endswith(_LAST_CHUNK):
        return None
    keeps = b"\r\nconnection: close" not in head
    return Answer(int(received[_STATUS]), keeps, received[start:])
