"""An answer on its way out: status, headers, body; sent with as little ceremony as ASGI allows."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import orjson
from starlette.types import Send

from raymi.serve.binary import LENGTH_HEADER

Header = tuple[bytes, bytes]

_JSON: Header = (b"content-type", b"application/json")
_OCTETS: Header = (b"content-type", b"application/octet-stream")


class Reply(NamedTuple):
    """What a request is answered with."""

    status: int
    body: bytes
    headers: tuple[Header, ...]
    """Lower-case names; without the content length."""

    version: str = ""
    """The version of the model that answered, for those who count."""


def dump(document: Any) -> bytes:
    """JSON text. What UTF-8 cannot hold, such as half of a surrogate pair, is escaped."""
    try:
        return orjson.dumps(document)
    except TypeError:
        return json.dumps(document, allow_nan=False).encode()


def json_reply(document: Any, *, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, dump(document), (_JSON,))


def tensors_reply(document: Any, blobs: bytes) -> Reply:
    """A JSON answer with bytes behind it."""
    text = dump(document)
    length = (LENGTH_HEADER.encode(), str(len(text)).encode())
    return Reply(200, text + blobs, (_OCTETS, length))


async def send_reply(reply: Reply, send: Send, *extra: Header) -> None:
    """Send an answer, with further headers."""
    length = (b"content-length", str(len(reply.body)).encode())
    headers = [*reply.headers, length, *extra]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
