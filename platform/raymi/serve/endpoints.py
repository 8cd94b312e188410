"""What predictions are asked through: bytes of a request in, bytes of an answer out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import pyarrow as pa
from starlette.types import Receive

from raymi.errors import OverloadedError, RaymiError, RequestError
from raymi.evaluate.predictor import Predictions
from raymi.registry.signature import Signature
from raymi.serve.answers import as_rows, as_tensors
from raymi.serve.arrow_stream import CONTENT_TYPE, parse_arrow, predictions_stream
from raymi.serve.body import Headers, read_body, read_json, read_tensors, require_uncompressed
from raymi.serve.host import NoFiniteAnswerError
from raymi.serve.identity import RequestLimits, ServedModel
from raymi.serve.protocol import InferRequest, parse_infer
from raymi.serve.reply import Reply, json_reply, tensors_reply
from raymi.serve.rows import parse_predict

_ARROW = CONTENT_TYPE.encode()

_MOST_DIGITS = 19
_UNKNOWN_BYTES = 1 << 20
"""What a body counts as that does not say how long it is."""

_log = logging.getLogger("ray.serve")


class Host(Protocol):
    """One loaded version of a model: a `raymi.serve.host.ModelHost`."""

    served: ServedModel
    signature: Signature
    is_ready: bool

    def require_room(self) -> None:
        """Raise OverloadedError if a request would be refused, before its body is read."""

    def lease(self) -> None:
        """A request has picked this version."""

    def release(self) -> None:
        """That request is over."""

    async def predict(self, rows: pa.RecordBatch) -> Predictions:
        """Predict validated rows."""


class Models(Protocol):
    """The versions of one model that are loaded."""

    name: str

    def active(self) -> Host:
        """The version that answers, but for a share that another one may have."""

    def pick(self) -> Host:
        """The version that answers the next request."""

    def version(self, number: str) -> Host | None:
        """One of them, by its number as text."""

    def instead_of(self, host: Host) -> Host | None:
        """One that can answer where another one failed."""

    def answered(
        self, host: Host, rows: pa.RecordBatch, predictions: Predictions, seconds: float
    ) -> None:
        """Told of every answer."""

    def failed(self, host: Host) -> None:
        """Told of every fault that was not the request's."""


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
        return models.active()
    host = models.version(number)
    if host is None:
        raise RequestError(
            "no such version here",
            why=f"this endpoint serves version {models.active().served.version} of {models.name}",
            fix=f"use /v2/models/{models.name}",
            status=404,
        )
    return host


Answer = Callable[[Host], Awaitable[Reply]]
Endpoint = Callable[[Headers, Receive, Mapping[str, str]], Awaitable[Reply]]


class PredictionEndpoints:
    """Rows or tensors to predictions."""

    def __init__(self, models: Models, limits: RequestLimits) -> None:
        """Answer for these models."""
        self._models = models
        self._limits = limits
        self._bytes_at_once = 0

    async def predict(self, headers: Headers, receive: Receive, path: Mapping[str, str]) -> Reply:
        """Predict rows of plain values."""
        return await self._bounded(self._predict_rows, headers, receive, path)

    async def infer(self, headers: Headers, receive: Receive, path: Mapping[str, str]) -> Reply:
        """Predict tensors (Open Inference Protocol)."""
        return await self._bounded(self._infer, headers, receive, path)

    async def _bounded(
        self, endpoint: Endpoint, headers: Headers, receive: Receive, path: Mapping[str, str]
    ) -> Reply:
        """Take a request on if all those that are here leave room for its body."""
        limits = self._limits
        announced = headers.get(b"content-length", b"")
        is_known = announced.isdigit() and len(announced) < _MOST_DIGITS
        size = min(int(announced), limits.max_request_bytes) if is_known else _UNKNOWN_BYTES
        if self._bytes_at_once + size > limits.max_bytes_at_once and self._bytes_at_once:
            raise OverloadedError(
                "the model is busy",
                why=f"{self._bytes_at_once} bytes of requests are being answered already",
                fix="repeat the request in a second, or deploy more replicas",
                retry_after_s=1,
            )
        self._bytes_at_once += size
        try:
            return await endpoint(headers, receive, path)
        finally:
            self._bytes_at_once -= size

    async def _predict_rows(
        self, headers: Headers, receive: Receive, _path: Mapping[str, str]
    ) -> Reply:
        host, limits = self._models.pick(), self._limits
        host.require_room()
        if headers.get(b"content-type", b"").startswith(_ARROW):
            return await self._predict_arrow(host, headers, receive)
        body = await read_json(
            headers, receive, max_bytes=limits.max_request_bytes, max_s=limits.timeout_s
        )

        async def answer(host: Host) -> Reply:
            asked = parse_predict(body, host.signature, max_rows=limits.max_rows)
            predictions = await self._predict(host, asked.rows)
            rows = as_rows(predictions, probabilities=asked.probabilities)
            served = host.served
            return json_reply(
                {"model": served.name, "version": served.version, "predictions": rows}
            )

        return await self._from(host, answer)

    async def _predict_arrow(self, host: Host, headers: Headers, receive: Receive) -> Reply:
        """Predict the rows of an Arrow stream; the answer is one too if the request accepts it."""
        limits = self._limits
        require_uncompressed(headers)
        body = await read_body(
            headers, receive, max_bytes=limits.max_request_bytes, max_s=limits.timeout_s
        )

        async def answer(host: Host) -> Reply:
            rows = parse_arrow(
                body,
                host.signature,
                max_rows=limits.max_rows,
                max_bytes=limits.max_request_bytes,
            )
            predictions = await self._predict(host, rows)
            served = host.served
            if _ARROW not in headers.get(b"accept", b""):
                found = as_rows(predictions, probabilities=False)
                return json_reply(
                    {"model": served.name, "version": served.version, "predictions": found}
                )
            stream = predictions_stream(predictions, probabilities=True)
            version = (b"model-version", f"{served.name}@{served.version}".encode())
            return Reply(200, stream, ((b"content-type", _ARROW), version))

        return await self._from(host, answer)

    async def _infer(self, headers: Headers, receive: Receive, path: Mapping[str, str]) -> Reply:
        host, limits = self._pick(path), self._limits
        host.require_room()
        body, behind = await read_tensors(
            headers, receive, max_bytes=limits.max_request_bytes, max_s=limits.timeout_s
        )

        async def answer(host: Host) -> Reply:
            asked = parse_infer(body, host.signature, max_rows=limits.max_rows, behind=behind)
            predictions = await self._predict(host, asked.rows)
            return _tensors(host, asked, predictions)

        return await self._from(host, answer)

    def _pick(self, path: Mapping[str, str]) -> Host:
        """The version for a request: the one it names, or any."""
        is_any = path["name"] == self._models.name and "version" not in path
        return self._models.pick() if is_any else find_model(self._models, path)

    async def _from(self, host: Host, answer: Answer) -> Reply:
        """The answer of a version, or where it fails that of one it was to replace."""
        host.lease()
        try:
            reply = await answer(host)
            return reply._replace(version=str(host.served.version))
        except (RaymiError, asyncio.CancelledError) as error:
            if not isinstance(error, NoFiniteAnswerError):
                raise
            return await self._from_another(host, answer, error)
        except Exception as error:  # noqa: BLE001 - whatever a network may raise
            return await self._from_another(host, answer, error)
        finally:
            host.release()

    async def _from_another(self, host: Host, answer: Answer, error: Exception) -> Reply:
        self._models.failed(host)
        other = self._models.instead_of(host)
        if other is None:
            raise error
        _log.warning("%s@%s failed: %s; another version answered", host.served.name,
                     host.served.version, type(error).__name__)  # fmt: skip
        other.lease()
        try:
            reply = await answer(other)
            return reply._replace(version=str(other.served.version))
        finally:
            other.release()

    async def _predict(self, host: Host, rows: pa.RecordBatch) -> Predictions:
        began_s = time.perf_counter()
        predictions = await host.predict(rows)
        self._models.answered(host, rows, predictions, time.perf_counter() - began_s)
        return predictions


def _tensors(host: Host, asked: InferRequest, predictions: Predictions) -> Reply:
    answer: dict[str, Any] = {
        "model_name": host.served.name,
        "model_version": str(host.served.version),
    }
    if asked.request_id is not None:
        answer["id"] = asked.request_id
    answer["outputs"], blobs = as_tensors(predictions, asked.outputs, binary=asked.binary_outputs)
    return tensors_reply(answer, blobs) if asked.binary_outputs else json_reply(answer)
