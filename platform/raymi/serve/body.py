"""Reading a request's body: bounded while it arrives, parsed once, refused by name."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from raymi.errors import RequestError
from raymi.serve.binary import LENGTH_HEADER, split_body


async def read_json(request: Request, *, max_bytes: int) -> Any:
    """Read and parse a JSON body.

    `NaN` and `Infinity`, which are not JSON, pass here: only the columns can say where they
    stand, and no column takes them.

    Raises:
        RequestError: 415 for another content type, 413 for too many bytes, 400 for a body
            that is cut off or is not JSON.
    """
    _require_json(request)
    return parse_json(await _read(request, max_bytes))


async def read_tensors(request: Request, *, max_bytes: int) -> tuple[Any, memoryview]:
    """Read a body of JSON, with or without bytes behind it.

    Returns:
        The parsed JSON, and the bytes.

    Raises:
        RequestError: As `read_json`.
    """
    announced = request.headers.get(LENGTH_HEADER)
    if announced is None:
        _require_json(request)
    else:
        _require_uncompressed(request)
    document, behind = split_body(await _read(request, max_bytes), announced)
    return parse_json(document), behind


def parse_json(body: bytes) -> Any:
    """Parse JSON text.

    Raises:
        RequestError: 400 with the position of the fault.
    """
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


def _require_json(request: Request) -> None:
    content_type = (request.headers.get("content-type") or "application/json").lower()
    if "json" not in content_type.partition(";")[0]:
        raise RequestError(
            "content-type: only JSON is read here",
            why="the request says that its body is something else",
            fix="send the header `content-type: application/json`",
            field="content-type",
            status=415,
        )
    _require_uncompressed(request)


def _require_uncompressed(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(
            "content-encoding: compressed bodies are not read here",
            why="a small body could unpack to more than the limit",
            fix="send the body as it is",
            field="content-encoding",
            status=415,
        )


async def _read(request: Request, max_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and len(announced) < 20 and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    num_bytes = 0
    try:
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise _too_large(max_bytes)
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise RequestError(
            "the body is incomplete",
            why="the connection was closed before its end",
            fix="send the request again",
            status=400,
        ) from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(
        "the body is too large",
        why=f"the limit is {max_bytes} bytes",
        fix="split the request, or deploy with a larger max_request_bytes",
        status=413,
    )
