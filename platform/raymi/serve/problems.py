"""Errors on the wire: problem documents for people, `{"error": ...}` for the inference protocol.

Both carry the same three lines. Neither carries a stack trace, a path or a value out of the
request: only the names of fields and the types found there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from raymi.errors import OverloadedError, RaymiError, RequestError
from raymi.serve.binary import LENGTH_HEADER

PROBLEM_TYPE = "application/problem+json"
"""Media type of RFC 9457."""


def json_response(document: Any, *, status: int = 200) -> Response:
    """A JSON answer; never NaN, always ASCII, so that any text survives."""
    body = json.dumps(document, separators=(",", ":"), allow_nan=False)
    return Response(body, status_code=status, media_type="application/json")


def tensors_response(document: Any, blobs: bytes) -> Response:
    """A JSON answer with bytes behind it."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    headers = {LENGTH_HEADER: str(len(text))}
    return Response(text + blobs, headers=headers, media_type="application/octet-stream")


def problem(error: RaymiError, *, headers: Mapping[str, str] | None = None) -> Response:
    """A problem document: `detail`, `why`, `try`, and the `field` where one is at fault."""
    status = HTTPStatus(error.http_status)
    document: dict[str, Any] = {
        "title": status.phrase,
        "status": status.value,
        "detail": error.what,
        "why": error.why,
        "try": error.fix,
    }
    if isinstance(error, RequestError) and error.field is not None:
        document["field"] = error.field
    return Response(
        json.dumps(document),
        status_code=status.value,
        headers={**_retry(error), **(headers or {})},
        media_type=PROBLEM_TYPE,
    )


def protocol_error(error: RaymiError, *, headers: Mapping[str, str] | None = None) -> Response:
    """The Open Inference Protocol's error: one member, one sentence."""
    return Response(
        json.dumps({"error": f"{error.what}: {error.why}; {error.fix}"}),
        status_code=error.http_status,
        headers={**_retry(error), **(headers or {})},
        media_type="application/json",
    )


def from_status(status: int) -> RequestError:
    """What a bare HTTP status of the router means."""
    if status == HTTPStatus.NOT_FOUND:
        what, why = "no such page", "nothing answers at this path"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        what, why = "wrong method", "this path answers to other methods (see the Allow header)"
    else:
        what, why = "the request was refused", HTTPStatus(status).phrase
    fix = "POST /predict, or GET /openapi.json for everything else"
    return RequestError(what, why=why, fix=fix, status=status)


def unexpected() -> RaymiError:
    """What a caller may know about a fault of ours: nothing but that it happened."""
    return RaymiError(
        "the model server failed",
        why="an unexpected error; its log has the details",
        fix="report it to whoever runs this server, with the x-request-id of the answer",
    )


def _retry(error: RaymiError) -> dict[str, str]:
    if isinstance(error, OverloadedError):
        return {"retry-after": str(error.retry_after_s)}
    return {}
