"""What is asked of a replica rarely: metadata, readiness, metrics, and the OpenAPI document.

Predictions are here too, for their documentation, their versions' own paths and wrong methods.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import raymi
from raymi.errors import OverloadedError, RaymiError
from raymi.serve.answering import Host, Models, find_model, no_such_model
from raymi.serve.body import Headers
from raymi.serve.endpoints import Endpoint, PredictionEndpoints
from raymi.serve.metrics import CONTENT_TYPE
from raymi.serve.openapi import infer_operation, page, path_parameters, predict_operation
from raymi.serve.problems import from_status, problem, protocol_error
from raymi.serve.protocol import metadata
from raymi.serve.reply import Reply, json_reply

_NO_MODEL = {"404": "Another model, or a version that is not loaded."}
_NOT_READY = {"503": "Not loaded yet."}

Exposition = Callable[[], Awaitable[bytes]]
"""What Prometheus is told."""


def build_pages(
    served: Sequence[tuple[Models, PredictionEndpoints]], exposition: Exposition | None
) -> FastAPI:
    """Everything but the short way of predictions.

    Args:
        served: The models, the one that `POST /predict` asks first.
        exposition: What GET /metrics answers; None: there is no such page.
    """
    every = [models for models, _ in served]
    hosts = [_active(models) for models in every]
    app = FastAPI(
        title=", ".join(map(_title, every, hosts)),
        version=hosts[0].served.fingerprint[:12] if hosts[0] else "none",
        docs_url=None,  # the page loads scripts from other hosts
        redoc_url=None,
    )
    pages = _Pages(every)
    if exposition is not None:
        metrics = _as_metrics(exposition)
        app.add_api_route(
            "/metrics", metrics, response_class=PlainTextResponse, openapi_extra=page()
        )
    app.add_api_route("/v2", pages.server, openapi_extra=page())
    app.add_api_route("/v2/models", pages.models, openapi_extra=page())
    app.add_api_route("/v2/health/live", pages.live)
    app.add_api_route("/v2/health/ready", pages.ready, openapi_extra=page(_NOT_READY))
    _add_predict(app, "/predict", served[0][1], hosts[0])
    for (models, endpoints), host in zip(served, hosts, strict=True):
        _add_predict(app, f"/predict/{models.name}", endpoints, host)
    # The first model's paths match any name, and say which names there are: they come last.
    for (models, endpoints), host in reversed(list(zip(served, hosts, strict=True))):
        is_any = models is every[0]
        _add_model(app, "{name}" if is_any else models.name, models, endpoints, pages, host)
    app.add_exception_handler(RaymiError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_error)
    return app


def refusal(error: RaymiError, path: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
    """An error in the form that its path's callers expect."""
    answer = protocol_error if path.startswith("/v2/") else problem
    return answer(error, headers=headers)


def _add_predict(
    app: FastAPI, path: str, endpoints: PredictionEndpoints, host: Host | None
) -> None:
    operation = predict_operation(host.signature) if host else page(_NOT_READY)
    name = "predict" if path == "/predict" else path.removeprefix("/")
    answer = _as_page(endpoints.predict, {})
    app.add_api_route(path, answer, methods=["POST"], openapi_extra=operation, name=name)


def _add_model(
    app: FastAPI,
    part: str,
    models: Models,
    endpoints: PredictionEndpoints,
    pages: _Pages,
    host: Host | None,
) -> None:
    names = {"name": models.name}
    version = str(host.served.version) if host else "1"
    base = f"/v2/models/{part}"
    for path in (base, f"{base}/versions/{{version}}"):
        parameters = path_parameters(path, {**names, "version": version})
        about = {**parameters, **page(_NO_MODEL)}
        ready = {**parameters, **page({**_NO_MODEL, **_NOT_READY})}
        app.add_api_route(path, _as_read(pages.model, names), openapi_extra=about)
        app.add_api_route(f"{path}/ready", _as_read(pages.model_ready, names), openapi_extra=ready)
        operation = infer_operation(host.signature) if host else page(_NOT_READY)
        app.add_api_route(
            f"{path}/infer",
            _as_page(endpoints.infer, names),
            methods=["POST"],
            openapi_extra={**operation, **parameters},
        )


class _Pages:
    """What is only read."""

    def __init__(self, every: Sequence[Models]) -> None:
        self._every = {models.name: models for models in every}

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

    async def models(self) -> Response:
        """Names of the models that it serves."""
        return _response(json_reply({"models": list(self._every)}))

    async def live(self) -> Response:
        """The process answers."""
        return _response(json_reply({"live": True}))

    async def ready(self) -> Response:
        """All models are loaded and warm: 200, else 503."""
        hosts = [_active(models) for models in self._every.values()]
        is_ready = all(host is not None and host.is_ready for host in hosts)
        return _response(json_reply({"ready": is_ready}, status=200 if is_ready else 503))

    async def model(self, path: Mapping[str, str]) -> Response:
        """What the model takes and gives, and which version of it answers."""
        host = self._find(path)
        return _response(json_reply(metadata(host.served, host.signature)))

    async def model_ready(self, path: Mapping[str, str]) -> Response:
        """The model is loaded and warm: 200, else 503."""
        host = self._find(path)
        status = 200 if host.is_ready else 503
        document = {"name": host.served.name, "ready": host.is_ready}
        return _response(json_reply(document, status=status))

    def _find(self, path: Mapping[str, str]) -> Host:
        """The version that a path names.

        Raises:
            RequestError: 404: another model, or a version that is not loaded.
            OverloadedError: No version of it is loaded.
        """
        models = self._every.get(path["name"])
        if models is None:
            raise no_such_model(*self._every)
        return find_model(models, path)


def _active(models: Models) -> Host | None:
    try:
        return models.active()
    except OverloadedError:
        return None


def _title(models: Models, host: Host | None) -> str:
    return f"{models.name} {host.served.version}" if host else models.name


def _as_metrics(exposition: Exposition) -> Callable[[], Awaitable[Response]]:
    async def metrics() -> Response:
        """Counts for Prometheus, of all replicas."""
        return Response(await exposition(), media_type=CONTENT_TYPE)

    return metrics


def _as_page(
    endpoint: Endpoint, names: Mapping[str, str]
) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        headers: Headers = dict(request.scope["headers"])
        path = {**names, **request.path_params}
        return _response(await endpoint(headers, request.receive, path))

    page.__doc__ = endpoint.__doc__
    page.__name__ = endpoint.__name__
    return page


def _as_read(
    read: Callable[[Mapping[str, str]], Awaitable[Response]], names: Mapping[str, str]
) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        return await read({**names, **request.path_params})

    page.__doc__ = read.__doc__
    page.__name__ = read.__name__
    return page


def _answer_error(request: Request, error: Exception) -> Response:
    extra: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, HTTPException):
        extra = tuple((k.encode(), v.encode()) for k, v in (error.headers or {}).items())
        error = from_status(error.status_code)
    if not isinstance(error, RaymiError):
        raise error
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    return _response(refusal(error, path, extra))


def _response(reply: Reply) -> Response:
    response = Response(reply.body, status_code=reply.status)
    response.raw_headers = [*response.raw_headers, *reply.headers]
    return response
