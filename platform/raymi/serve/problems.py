"""Errors on the wire: problem documents for people, `{"error": ...}` for the inference protocol.

Both carry the same three lines. Neither carries a stack trace, a path or a value out of the
request: only the names of fields and the types found there.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from raymi.errors import LimitedError, OverloadedError, RaymiError, RequestError
from raymi.serve.reply import Header, Reply, dump, json_reply

PROBLEM_TYPE = "application/problem+json"
"""Media type of RFC 9457."""


def problem(error: RaymiError, *, headers: tuple[Header, ...] = ()) -> Reply:
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
    kind = (b"content-type", PROBLEM_TYPE.encode())
    return Reply(status.value, dump(document), (kind, *_particular(error), *headers))


def protocol_error(error: RaymiError, *, headers: tuple[Header, ...] = ()) -> Reply:
    """The Open Inference Protocol's error: one member, one sentence."""
    reply = json_reply({"error": sentence(error)}, status=error.http_status)
    return reply._replace(headers=(*reply.headers, *_particular(error), *headers))


def sentence(error: RaymiError) -> str:
    """What is wrong, why, and what to do, as the inference protocol says it."""
    return f"{error.what}: {error.why}; {error.fix}"


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


def _particular(error: RaymiError) -> tuple[Header, ...]:
    """Headers that a status asks for."""
    if isinstance(error, OverloadedError | LimitedError):
        return ((b"retry-after", str(error.retry_after_s).encode()),)
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        return ((b"www-authenticate", b"Bearer"),)
    return ()
