"""What predictions are asked through: bytes of a request in, bytes of an answer out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.types import Receive

from raymi.evaluate.predictor import Predictions
from raymi.serve.answering import Answering, Host, Models
from raymi.serve.answers import as_rows, as_tensors
from raymi.serve.arrow_stream import CONTENT_TYPE, parse_arrow, predictions_stream
from raymi.serve.body import (
    Headers,
    parse_json,
    read_body,
    read_json,
    read_tensors,
    require_uncompressed,
)
from raymi.serve.identity import RequestLimits
from raymi.serve.protocol import InferRequest, parse_infer
from raymi.serve.reply import Reply, json_reply, tensors_reply
from raymi.serve.rows import parse_predict
from raymi.serve.tensor_rows import TensorRowsReader

_ARROW = CONTENT_TYPE.encode()

_MOST_DIGITS = 19
_UNKNOWN_BYTES = 1 << 20
"""What a body counts as that does not say how long it is."""


Endpoint = Callable[[Headers, Receive, Mapping[str, str]], Awaitable[Reply]]


class PredictionEndpoints:
    """Rows or tensors to predictions."""

    def __init__(self, models: Models, limits: RequestLimits) -> None:
        """Answer for these models."""
        self.answering = Answering(models, limits)
        self._limits = limits
        self._tensor_rows = TensorRowsReader(max_rows=limits.max_rows)

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
        announced = headers.get(b"content-length", b"")
        is_known = announced.isdigit() and len(announced) < _MOST_DIGITS
        most = self._limits.max_request_bytes
        with self.answering.room_for(min(int(announced), most) if is_known else _UNKNOWN_BYTES):
            return await endpoint(headers, receive, path)

    async def _predict_rows(
        self, headers: Headers, receive: Receive, _path: Mapping[str, str]
    ) -> Reply:
        answering, limits = self.answering, self._limits
        host = answering.pick({"name": answering.models.name})
        if headers.get(b"content-type", b"").startswith(_ARROW):
            return await self._predict_arrow(host, headers, receive)
        body = await read_json(
            headers, receive, max_bytes=limits.max_request_bytes, max_s=limits.timeout_s
        )

        async def answer(host: Host) -> Reply:
            asked = self._tensor_rows.read(body, host.signature)
            if asked is None:
                asked = parse_predict(parse_json(body), host.signature, max_rows=limits.max_rows)
            predictions = await self.answering.predict(host, asked.rows)
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
            predictions = await self.answering.predict(host, rows)
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
        host, limits = self.answering.pick(path), self._limits
        body, behind = await read_tensors(
            headers, receive, max_bytes=limits.max_request_bytes, max_s=limits.timeout_s
        )

        async def answer(host: Host) -> Reply:
            asked = parse_infer(body, host.signature, max_rows=limits.max_rows, behind=behind)
            predictions = await self.answering.predict(host, asked.rows)
            return _tensors(host, asked, predictions)

        return await self._from(host, answer)

    async def _from(self, host: Host, compute: Callable[[Host], Awaitable[Reply]]) -> Reply:
        reply, version = await self.answering.answer(host, compute)
        return reply._replace(version=version)


def _tensors(host: Host, asked: InferRequest, predictions: Predictions) -> Reply:
    answer: dict[str, Any] = {
        "model_name": host.served.name,
        "model_version": str(host.served.version),
    }
    if asked.request_id is not None:
        answer["id"] = asked.request_id
    answer["outputs"], blobs = as_tensors(predictions, asked.outputs, binary=asked.binary_outputs)
    return tensors_reply(answer, blobs) if asked.binary_outputs else json_reply(answer)
