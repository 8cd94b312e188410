"""Reading a request's body: bounded while it arrives, parsed once, refused by name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Receive

from raymi.errors import RequestError
from raymi.serve.binary import LENGTH_HEADER, split_body

Headers = Mapping[bytes, bytes]
"""Lower-case names; of one that comes twice, the last."""

_LENGTH_HEADER = LENGTH_HEADER.encode()
_MOST_DIGITS = 19
_JSON = b"application/json"


async def read_json(headers: Headers, receive: Receive, *, max_bytes: int, max_s: float) -> bytes:
    """Read a body of JSON; its text may be anything yet.

    Raises:
        RequestError: 415 for another content type, 413 for too many bytes, 408 for one that
            takes too long to arrive, 400 for a body that is cut off.
    """
    _require_json(headers)
    return await read_body(headers, receive, max_bytes=max_bytes, max_s=max_s)


async def read_tensors(
    headers: Headers, receive: Receive, *, max_bytes: int, max_s: float
) -> tuple[Any, memoryview]:
    """Read a body of JSON, with or without bytes behind it.

    Returns:
        The parsed JSON, and the bytes.

    Raises:
        RequestError: As `read_json`; 400 for what is not JSON.
    """
    announced = headers.get(_LENGTH_HEADER)
    if announced is None:
        _require_json(headers)
    else:
        require_uncompressed(headers)
    body = await read_body(headers, receive, max_bytes=max_bytes, max_s=max_s)
    document, behind = split_body(body, None if announced is None else announced.decode("latin-1"))
    return parse_json(document), behind


def parse_json(body: bytes) -> Any:
    """Parse JSON text.

    `NaN` and `Infinity`, which are not JSON, pass here: only the columns can say where they
    stand, and no column takes them.

    Raises:
        RequestError: 400 with the position of the fault.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # The slower parser takes what only the columns can refuse by name, such as NaN and half
        # of a surrogate pair, and says where the fault is.
        return _parse_again(body)


def _parse_again(body: bytes) -> Any:
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        why = f"{error.msg} at line {error.lineno}, column {error.colno}" if body else "it is empty"
    except UnicodeDecodeError as error:
        why = f"it is not UTF-8 at byte {error.start}"
    except RecursionError:
        why = "lists or objects are nested too deeply"
    except ValueError:
        why = "a number has too many digits"
    raise RequestError(
        "the body is not JSON", why=why, fix="check it with `python -m json.tool`", status=400
    )


def require_uncompressed(headers: Headers) -> None:
    """Refuse a body that would have to be unpacked.

    Raises:
        RequestError: 415.
    """
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise RequestError(
            "content-encoding: compressed bodies are not read here",
            why="a small body could unpack to more than the limit",
            fix="send the body as it is",
            field="content-encoding",
            status=415,
        )


async def read_body(headers: Headers, receive: Receive, *, max_bytes: int, max_s: float) -> bytes:
    """Read a body that has a limit of bytes, and of seconds until its last one.

    Raises:
        RequestError: 413, 408, or 400 where the connection was closed before its end.
    """
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and len(announced) < _MOST_DIGITS and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:
        raise RuntimeError("a body is read in a task")
    # asyncio.timeout does the same at four times the cost, which here is paid by every request.
    deadline_s = loop.time() + max_s
    alarm = loop.call_at(deadline_s, task.cancel)
    try:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            # Nearly all bodies come in one piece.
            whole: bytes = message.get("body", b"")
            if len(whole) > max_bytes:
                raise _too_large(max_bytes)
            return whole
        return await _read_rest(message, receive, max_bytes)
    except asyncio.CancelledError as error:
        if loop.time() < deadline_s or task.uncancel():
            raise
        raise RequestError(
            "the body is late",
            why=f"it had not arrived after {max_s:g} s",
            fix="send it at once, or deploy with a larger request_timeout_s",
            status=408,
        ) from error
    finally:
        alarm.cancel()


async def _read_rest(message: Any, receive: Receive, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    num_bytes = 0
    while True:
        if message["type"] != "http.request":
            raise RequestError(
                "the body is incomplete",
                why="the connection was closed before its end",
                fix="send the request again",
                status=400,
            )
        chunk: bytes = message.get("body", b"")
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


def _require_json(headers: Headers) -> None:
    content_type = headers.get(b"content-type", _JSON)
    if content_type != _JSON and b"json" not in content_type.lower().partition(b";")[0]:
        raise RequestError(
            "content-type: only JSON is read here",
            why="the request says that its body is something else",
            fix="send the header `content-type: application/json`",
            field="content-type",
            status=415,
        )
    require_uncompressed(headers)


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(
        "the body is too large",
        why=f"the limit is {max_bytes} bytes",
        fix="split the request, or deploy with a larger max_request_bytes",
        status=413,
    )
