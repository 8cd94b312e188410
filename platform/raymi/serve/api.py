"""The HTTP surface of a model: POST /predict, and the Open Inference Protocol under /v2.

Knows nothing about Ray. Predictions take a short way: a table of paths, one parse, one check
against the model's own signature. Everything that is asked rarely is left to FastAPI, which also
writes the OpenAPI document.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

import raymi
from raymi.errors import RaymiError
from raymi.serve.answering import Models, find_model
from raymi.serve.body import Headers
from raymi.serve.endpoints import Endpoint, PredictionEndpoints
from raymi.serve.faults import tell
from raymi.serve.guard import Guard
from raymi.serve.identity import RequestLimits, ServedModel
from raymi.serve.metrics import CONTENT_TYPE
from raymi.serve.openapi import infer_operation, page, path_parameters, predict_operation
from raymi.serve.problems import from_status, problem, protocol_error, unexpected
from raymi.serve.protocol import metadata
from raymi.serve.reply import Reply, json_reply, send_reply

if TYPE_CHECKING:
    from raymi.serve.grpc.service import InferenceService

_REQUEST_ID = b"x-request-id"
_LONGEST_REQUEST_ID = 128
_NO_MODEL = {"404": "Another model, or a version that is not loaded."}
_NOT_READY = {"503": "Not loaded yet."}
_OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})
"""Probes of an orchestrator carry no token."""

Observe = Callable[[str, str, int, float], None]
"""Told the path, the version that answered, the status and the seconds of every answer."""

Exposition = Callable[[], Awaitable[bytes]]
"""What Prometheus is told."""


def build_api(
    models: Models,
    limits: RequestLimits,
    guard: Guard,
    *,
    observe: Observe | None = None,
    exposition: Exposition | None = None,
) -> ModelApi:
    """Assemble the ASGI application.

    Args:
        models: The versions that are loaded.
        limits: Of one request.
        guard: Who may ask.
        observe: Told of every answer.
        exposition: What GET /metrics answers; None: there is no such page.
    """
    return ModelApi(models, limits, guard, observe or _ignore, exposition)


class ModelApi:
    """An ASGI application."""

    def __init__(
        self,
        models: Models,
        limits: RequestLimits,
        guard: Guard,
        observe: Observe,
        exposition: Exposition | None,
    ) -> None:
        self._guard = guard
        self._exposition = exposition
        self._observe = observe
        self._models = models
        self._endpoints = endpoints = PredictionEndpoints(models, limits)
        infer = f"/v2/models/{models.name}/infer"
        self._short: dict[str, tuple[Endpoint, dict[str, str]]] = {
            "/predict": (endpoints.predict, {}),
            infer: (endpoints.infer, {"name": models.name}),
        }
        self._pages: FastAPI | None = None
        self._pages_of: ServedModel | None = None
        self._prefix = secrets.token_hex(6)
        self._count = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._current_pages()(scope, receive, send)
            return
        began_s = time.perf_counter()
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
            endpoint, names = short
            reply = await endpoint(headers, receive, names)
            status, version = reply.status, reply.version
        except RaymiError as error:
            reply = _refusal(error, path)
            status = reply.status
        except Exception as error:  # noqa: BLE001 - a caller gets an answer, whatever happened
            tell(error, own[1].decode("latin-1"))
            reply = _refusal(unexpected(), path)
        finally:
            seconds = time.perf_counter() - began_s
            self._observe(path if short else "other", version, status, seconds)
        await send_reply(reply, send, own)

    def over_grpc(self) -> InferenceService:
        """The same models over gRPC, with the same guard, limits and counts."""
        from raymi.serve.grpc.service import InferenceService, ServedOverGrpc

        served = ServedOverGrpc(self._endpoints.answering, self._observe)
        return InferenceService((served,), self._guard)

    def _current_pages(self) -> FastAPI:
        """The pages of the version that answers: their document describes its columns."""
        served = self._models.active().served
        if self._pages is None or served != self._pages_of:
            self._pages, self._pages_of = (
                _pages(self._models, self._endpoints, self._exposition),
                served,
            )
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


def _pages(
    models: Models, endpoints: PredictionEndpoints, exposition: Exposition | None
) -> FastAPI:
    """Everything but the short way; that too, for its documentation and its wrong methods."""
    served = models.active().served
    signature = models.active().signature
    app = FastAPI(
        title=f"{served.name} {served.version}",
        version=served.fingerprint[:12],
        docs_url=None,  # the page loads scripts from other hosts
        redoc_url=None,
    )
    pages = _Pages(models)
    if exposition is not None:
        metrics = _as_metrics(exposition)
        app.add_api_route(
            "/metrics", metrics, response_class=PlainTextResponse, openapi_extra=page()
        )
    app.add_api_route(
        "/predict",
        _as_page(endpoints.predict),
        methods=["POST"],
        openapi_extra=predict_operation(signature),
    )
    app.add_api_route("/v2", pages.server, openapi_extra=page())
    app.add_api_route("/v2/health/live", pages.live)
    app.add_api_route("/v2/health/ready", pages.ready, openapi_extra=page(_NOT_READY))
    model = "/v2/models/{name}"
    for path in (model, f"{model}/versions/{{version}}"):
        parameters = path_parameters(path, {"name": served.name, "version": str(served.version)})
        about = {**parameters, **page(_NO_MODEL)}
        ready = {**parameters, **page({**_NO_MODEL, **_NOT_READY})}
        app.add_api_route(path, pages.model, openapi_extra=about)
        app.add_api_route(f"{path}/ready", pages.model_ready, openapi_extra=ready)
        operation = {**infer_operation(signature), **parameters}
        infer = _as_page(endpoints.infer)
        app.add_api_route(f"{path}/infer", infer, methods=["POST"], openapi_extra=operation)
    app.add_exception_handler(RaymiError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_error)
    return app


class _Pages:
    """What is asked rarely."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def server(self) -> Response:
        """What this server is."""
        return _response(
            json_reply(
                {
                    "name": "raymi",
                    "version": raymi.__version__,
                    "extensions": ["binary_tensor_data"],
                }
            )
        )

    async def live(self) -> Response:
        """The process answers."""
        return _response(json_reply({"live": True}))

    async def ready(self) -> Response:
        """The model is loaded and warm: 200, else 503."""
        is_ready = self._models.active().is_ready
        return _response(json_reply({"ready": is_ready}, status=200 if is_ready else 503))

    async def model(self, request: Request) -> Response:
        """What the model takes and gives, and which version of it answers."""
        host = find_model(self._models, request.path_params)
        return _response(json_reply(metadata(host.served, host.signature)))

    async def model_ready(self, request: Request) -> Response:
        """The model is loaded and warm: 200, else 503."""
        host = find_model(self._models, request.path_params)
        status = 200 if host.is_ready else 503
        document = {"name": host.served.name, "ready": host.is_ready}
        return _response(json_reply(document, status=status))


def _as_metrics(exposition: Exposition) -> Callable[[], Awaitable[Response]]:
    async def metrics() -> Response:
        """Counts for Prometheus, of all replicas."""
        return Response(await exposition(), media_type=CONTENT_TYPE)

    return metrics


def _ignore(_path: str, _version: str, _status: int, _seconds: float) -> None:
    """Nobody counts."""


def _as_page(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        headers: Headers = dict(request.scope["headers"])
        return _response(await endpoint(headers, request.receive, request.path_params))

    page.__doc__ = endpoint.__doc__
    page.__name__ = endpoint.__name__
    return page


def _answer_error(request: Request, error: Exception) -> Response:
    extra: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, HTTPException):
        extra = tuple((k.encode(), v.encode()) for k, v in (error.headers or {}).items())
        error = from_status(error.status_code)
    if not isinstance(error, RaymiError):
        raise error
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    return _response(_refusal(error, path, extra))


def _refusal(error: RaymiError, path: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
    answer = protocol_error if path.startswith("/v2/") else problem
    return answer(error, headers=headers)


def _response(reply: Reply) -> Response:
    response = Response(reply.body, status_code=reply.status)
    response.raw_headers = [*response.raw_headers, *reply.headers]
    return response
