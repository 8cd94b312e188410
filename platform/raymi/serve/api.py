"""The HTTP surface of one model: POST /predict, and the Open Inference Protocol under /v2.

Knows nothing about Ray. Bodies are read, parsed and checked once, against the model's own
signature; no framework validates them a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import raymi
from raymi.errors import RaymiError, RequestError
from raymi.evaluate.predictor import Predictions
from raymi.registry.signature import Signature
from raymi.serve.answers import as_rows, as_tensors
from raymi.serve.body import read_json, read_tensors
from raymi.serve.identity import RequestLimits, ServedModel
from raymi.serve.openapi import infer_operation, path_parameters, predict_operation
from raymi.serve.problems import (
    from_status,
    json_response,
    problem,
    protocol_error,
    tensors_response,
    unexpected,
)
from raymi.serve.protocol import metadata, parse_infer
from raymi.serve.rows import parse_predict


class Host(Protocol):
    """What answers: a `raymi.serve.host.ModelHost`."""

    served: ServedModel
    signature: Signature
    is_ready: bool

    async def predict(self, rows: pa.RecordBatch) -> Predictions:
        """Predict validated rows."""


def build_api(host: Host, limits: RequestLimits) -> FastAPI:
    """Assemble the application for one model."""
    app = FastAPI(
        title=f"{host.served.name} {host.served.version}",
        version=host.served.fingerprint[:12],
        docs_url=None,  # the page loads scripts from other hosts
        redoc_url=None,
    )
    api = _ModelApi(host, limits)
    app.add_api_route(
        "/predict", api.predict, methods=["POST"], openapi_extra=predict_operation(host.signature)
    )
    app.add_api_route("/v2", api.server)
    app.add_api_route("/v2/health/live", api.live)
    app.add_api_route("/v2/health/ready", api.ready)
    model = "/v2/models/{name}"
    for path in (model, f"{model}/versions/{{version}}"):
        parameters = path_parameters(path)
        app.add_api_route(path, api.model, openapi_extra=parameters)
        app.add_api_route(f"{path}/ready", api.model_ready, openapi_extra=parameters)
        operation = {**infer_operation(host.signature), **parameters}
        app.add_api_route(f"{path}/infer", api.infer, methods=["POST"], openapi_extra=operation)
    app.add_exception_handler(RaymiError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_error)
    app.add_exception_handler(Exception, _answer_error)
    return app


class _ModelApi:
    """The endpoints."""

    def __init__(self, host: Host, limits: RequestLimits) -> None:
        self._host = host
        self._limits = limits

    async def predict(self, request: Request) -> Response:
        """Predict rows of plain values."""
        body = await read_json(request, max_bytes=self._limits.max_request_bytes)
        asked = parse_predict(body, self._host.signature, max_rows=self._limits.max_rows)
        predictions = await self._host.predict(asked.rows)
        return json_response(
            {
                "model": self._host.served.name,
                "version": self._host.served.version,
                "predictions": as_rows(predictions, probabilities=asked.probabilities),
            }
        )

    async def infer(self, request: Request) -> Response:
        """Predict tensors (Open Inference Protocol)."""
        self._require_model(request.path_params)
        body, behind = await read_tensors(request, max_bytes=self._limits.max_request_bytes)
        asked = parse_infer(
            body, self._host.signature, max_rows=self._limits.max_rows, behind=behind
        )
        predictions = await self._host.predict(asked.rows)
        answer: dict[str, Any] = {
            "model_name": self._host.served.name,
            "model_version": str(self._host.served.version),
        }
        if asked.request_id is not None:
            answer["id"] = asked.request_id
        answer["outputs"], blobs = as_tensors(
            predictions, asked.outputs, binary=asked.binary_outputs
        )
        return tensors_response(answer, blobs) if asked.binary_outputs else json_response(answer)

    async def server(self) -> Response:
        """What this server is."""
        return json_response(
            {"name": "raymi", "version": raymi.__version__, "extensions": ["binary_tensor_data"]}
        )

    async def live(self) -> Response:
        """The process answers."""
        return json_response({"live": True})

    async def ready(self) -> Response:
        """The model is loaded and warm: 200, else 503."""
        is_ready = self._host.is_ready
        return json_response({"ready": is_ready}, status=200 if is_ready else 503)

    async def model(self, request: Request) -> Response:
        """What the model takes and gives, and which version of it answers."""
        self._require_model(request.path_params)
        return json_response(metadata(self._host.served, self._host.signature))

    async def model_ready(self, request: Request) -> Response:
        """The model is loaded and warm: 200, else 503."""
        self._require_model(request.path_params)
        return json_response(
            {"name": self._host.served.name, "ready": self._host.is_ready},
            status=200 if self._host.is_ready else 503,
        )

    def _require_model(self, path: Mapping[str, str]) -> None:
        served = self._host.served
        if path["name"] != served.name:
            raise RequestError(
                "no such model here",
                why=f"this endpoint serves {served.name}",
                fix=f"use /v2/models/{served.name}",
                status=404,
            )
        if path.get("version", str(served.version)) != str(served.version):
            raise RequestError(
                "no such version here",
                why=f"this endpoint serves version {served.version} of {served.name}",
                fix=f"use /v2/models/{served.name}",
                status=404,
            )


def _answer_error(request: Request, error: Exception) -> Response:
    headers: Mapping[str, str] = {}
    if isinstance(error, HTTPException):
        headers = error.headers or {}
        error = from_status(error.status_code)
    named = error if isinstance(error, RaymiError) else unexpected()
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    answer = protocol_error if path.startswith("/v2/") else problem
    return answer(named, headers=headers)
