"""What predictions are asked through: bytes of a request in, bytes of an answer out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa
from starlette.types import Receive

from raymi.errors import RequestError
from raymi.evaluate.predictor import Predictions
from raymi.registry.signature import Signature
from raymi.serve.answers import as_rows, as_tensors
from raymi.serve.body import Headers, read_json, read_tensors
from raymi.serve.identity import RequestLimits, ServedModel
from raymi.serve.protocol import parse_infer
from raymi.serve.reply import Reply, json_reply, tensors_reply
from raymi.serve.rows import parse_predict


class Host(Protocol):
    """One loaded version of a model: a `raymi.serve.host.ModelHost`."""

    served: ServedModel
    signature: Signature
    is_ready: bool

    def require_room(self) -> None:
        """Raise OverloadedError if a request would be refused, before its body is read."""

    async def predict(self, rows: pa.RecordBatch) -> Predictions:
        """Predict validated rows."""


class Models(Protocol):
    """The versions of one model that are loaded."""

    name: str

    def pick(self) -> Host:
        """The version that answers the next request."""

    def version(self, number: str) -> Host | None:
        """One of them, by its number as text."""


def find_model(models: Models, path: Mapping[str, str]) -> Host:
    """The version that a path such as `/v2/models/{name}/versions/{version}` names.

    Raises:
        RequestError: 404: another model, or a version that is not loaded.
    """
    if path["name"] != models.name:
        raise RequestError(
            "no such model here",
            why=f"this endpoint serves {models.name}",
            fix=f"use /v2/models/{models.name}",
            status=404,
        )
    if (number := path.get("version")) is None:
        return models.pick()
    host = models.version(number)
    if host is None:
        raise RequestError(
            "no such version here",
            why=f"this endpoint serves version {models.pick().served.version} of {models.name}",
            fix=f"use /v2/models/{models.name}",
            status=404,
        )
    return host


class PredictionEndpoints:
    """Rows or tensors to predictions."""

    def __init__(self, models: Models, limits: RequestLimits) -> None:
        """Answer for these models."""
        self._models = models
        self._limits = limits

    async def predict(self, headers: Headers, receive: Receive, _path: Mapping[str, str]) -> Reply:
        """Predict rows of plain values."""
        host, limits = self._models.pick(), self._limits
        host.require_room()
        body = await read_json(
            headers, receive, max_bytes=limits.max_request_bytes, max_s=limits.timeout_s
        )
        asked = parse_predict(body, host.signature, max_rows=limits.max_rows)
        predictions = await host.predict(asked.rows)
        return json_reply(
            {
                "model": host.served.name,
                "version": host.served.version,
                "predictions": as_rows(predictions, probabilities=asked.probabilities),
            }
        )

    async def infer(self, headers: Headers, receive: Receive, path: Mapping[str, str]) -> Reply:
        """Predict tensors (Open Inference Protocol)."""
        host, limits = find_model(self._models, path), self._limits
        host.require_room()
        body, behind = await read_tensors(
            headers, receive, max_bytes=limits.max_request_bytes, max_s=limits.timeout_s
        )
        asked = parse_infer(body, host.signature, max_rows=limits.max_rows, behind=behind)
        predictions = await host.predict(asked.rows)
        answer: dict[str, Any] = {
            "model_name": host.served.name,
            "model_version": str(host.served.version),
        }
        if asked.request_id is not None:
            answer["id"] = asked.request_id
        answer["outputs"], blobs = as_tensors(
            predictions, asked.outputs, binary=asked.binary_outputs
        )
        return tensors_reply(answer, blobs) if asked.binary_outputs else json_reply(answer)
