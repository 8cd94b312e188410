"""Faults as gRPC tells them: a code for machines, the sentence of the HTTP flavour for people."""

from __future__ import annotations

from http import HTTPStatus

import grpc

from raymi.errors import LimitedError, OverloadedError, RaymiError
from raymi.serve.problems import sentence

_CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNPROCESSABLE_ENTITY: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}

_LONGEST_DETAILS = 2000
"""Characters: a client takes 8 KiB of trailing metadata, in which each may be three bytes."""


def code_of(error: RaymiError) -> grpc.StatusCode:
    """The code for an error; INTERNAL for what is not the caller's doing."""
    return _CODES.get(HTTPStatus(error.http_status), grpc.StatusCode.INTERNAL)


def details_of(error: RaymiError) -> str:
    """What is wrong, why, and what to do; cut off where it would be too long to be sent."""
    text = sentence(error)
    return text if len(text) <= _LONGEST_DETAILS else f"{text[:_LONGEST_DETAILS]}..."


def particulars(error: RaymiError) -> tuple[tuple[str, str], ...]:
    """Trailing metadata that an error asks for: when to ask again."""
    if isinstance(error, OverloadedError | LimitedError):
        return (("retry-after", str(error.retry_after_s)),)
    return ()
