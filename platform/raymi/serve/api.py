"""The HTTP surface of a replica's models: POST /predict, and the Open Inference Protocol under /v2.

Knows nothing about Ray. Predictions take a short way: a table of paths, one parse, one check
against the model's own signature. Everything that is asked rarely is left to FastAPI, which also
writes the OpenAPI document.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from raymi.errors import OverloadedError, RaymiError
from raymi.serve.answering import Models
from raymi.serve.body import Headers
from raymi.serve.endpoints import Endpoint, PredictionEndpoints
from raymi.serve.faults import tell
from raymi.serve.guard import Guard
from raymi.serve.identity import RequestLimits, ServedModel
from raymi.serve.metrics import OTHER
from raymi.serve.pages import Exposition, build_pages, refusal
from raymi.serve.problems import unexpected
from raymi.serve.reply import send_reply
from raymi.serve.scaling import OngoingRequests

if TYPE_CHECKING:
    from raymi.serve.grpc.service import InferenceService

_REQUEST_ID = b"x-request-id"
_LONGEST_REQUEST_ID = 128
_OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})
"""Probes of an orchestrator carry no token."""

Observe = Callable[[str, str, int, float], None]
"""Told the path, the version that answered, the status and the seconds of every answer."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model, and who counts its answers."""

    models: Models
    """Its versions that are loaded."""

    observe: Observe
    """Told of every answer."""


def build_api(
    models: Models,
    limits: RequestLimits,
    guard: Guard,
    *,
    also: Sequence[Served] = (),
    observe: Observe | None = None,
    exposition: Exposition | None = None,
) -> ModelApi:
    """Assemble the ASGI application.

    Args:
        models: The versions that are loaded, of the model that `POST /predict` asks.
        limits: Of one request.
        guard: Who may ask.
        also: Further models; `POST /predict/NAME` asks them.
        observe: Told of every answer of the first model, and of every page.
        exposition: What GET /metrics answers; None: there is no such page.
    """
    return ModelApi((Served(models, observe or _ignore), *also), limits, guard, exposition)


class ModelApi:
    """An ASGI application."""

    def __init__(
        self,
        served: tuple[Served, ...],
        limits: RequestLimits,
        guard: Guard,
        exposition: Exposition | None,
    ) -> None:
        self._guard = guard
        self._exposition = exposition
        self._observe_page = served[0].observe
        self._served = served
        self._models = tuple(each.models for each in served)
        # Each has its own: what one of them is asked takes nothing of what others may be.
        self._endpoints = tuple(PredictionEndpoints(models, limits) for models in self._models)
        self._short: dict[str, tuple[Endpoint, dict[str, str], Observe]] = {}
        for each, endpoints in zip(served, self._endpoints, strict=True):
            name = each.models.name
            predict = (endpoints.predict, {"name": name}, each.observe)
            self._short.setdefault("/predict", predict)
            self._short[f"/predict/{name}"] = predict
            infer = (endpoints.infer, {"name": name}, each.observe)
            self._short[f"/v2/models/{name}/infer"] = infer
        self._pages: FastAPI | None = None
        self._pages_of: tuple[ServedModel | None, ...] = ()
        self._prefix = secrets.token_hex(6)
        self._count = itertools.count()
        self.ongoing = OngoingRequests()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._current_pages()(scope, receive, send)
            return
        began_s = time.perf_counter()
        self.ongoing.began(began_s)
        headers: Headers = dict(scope["headers"])
        request_id = headers.get(_REQUEST_ID) or f"{self._prefix}-{next(self._count)}".encode()
        own = (_REQUEST_ID, request_id[:_LONGEST_REQUEST_ID])
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root) if root else scope["path"]
        short = self._short.get(path) if scope["method"] == "POST" else None
        status, version = 500, ""
        try:
            if path not in _OPEN_PATHS:
                self._guard.admit(headers)
            if short is None:
                status = await self._page(scope, receive, send, own)
                return
            endpoint, names, _ = short
            reply = await endpoint(headers, receive, names)
            status, version = reply.status, reply.version
        except RaymiError as error:
            reply = refusal(error, path)
            status = reply.status
        except Exception as error:  # noqa: BLE001 - a caller gets an answer, whatever happened
            tell(error, own[1].decode("latin-1"))
            reply = refusal(unexpected(), path)
        finally:
            seconds = time.perf_counter() - began_s
            self.ongoing.ended(began_s, seconds)
            if short is None:
                self._observe_page(OTHER, version, status, seconds)
            else:
                short[2](path, version, status, seconds)
        await send_reply(reply, send, own)

    def over_grpc(self) -> InferenceService:
        """The same models over gRPC, with the same guard, limits and counts."""
        from raymi.serve.grpc.service import InferenceService, ServedOverGrpc

        served = [
            ServedOverGrpc(endpoints.answering, each.observe)
            for each, endpoints in zip(self._served, self._endpoints, strict=True)
        ]
        return InferenceService(served, self._guard, self.ongoing)

    def _current_pages(self) -> FastAPI:
        """The pages of the versions that answer: their document describes their columns."""
        served = tuple(_served_by(models) for models in self._models)
        if self._pages is None or served != self._pages_of:
            pairs = list(zip(self._models, self._endpoints, strict=True))
            self._pages, self._pages_of = build_pages(pairs, self._exposition), served
        return self._pages

    async def _page(
        self, scope: Scope, receive: Receive, send: Send, own: tuple[bytes, bytes]
    ) -> int:
        statuses: list[int] = []

        async def send_marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                message["headers"] = [*message.get("headers", ()), own]
            await send(message)

        await self._current_pages()(scope, receive, send_marked)
        return statuses[0] if statuses else 500


def _served_by(models: Models) -> ServedModel | None:
    try:
        return models.active().served
    except OverloadedError:
        return None


def _ignore(_path: str, _version: str, _status: int, _seconds: float) -> None:
    """Nobody counts."""
