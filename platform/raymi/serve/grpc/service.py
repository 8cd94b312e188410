"""GRPCInferenceService: the six calls of the protocol, answered by the models that HTTP asks too.

Knows nothing about Ray, and of gRPC only what a call is. Messages are read and written here, not by
gRPC: what cannot be read is then refused with a sentence, and a caller without a token is refused
before anything of its message is read.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

import raymi
from raymi.errors import OverloadedError, RaymiError, RequestError
from raymi.serve.answering import Answering, Host, find_model, no_such_model
from raymi.serve.body import Headers
from raymi.serve.faults import tell
from raymi.serve.grpc import open_inference_pb2 as pb
from raymi.serve.grpc.bounds import require_few_parts
from raymi.serve.grpc.codes import code_of, details_of, particulars
from raymi.serve.grpc.messages import decode, infer_response, model_metadata, model_path, parse
from raymi.serve.guard import Guard
from raymi.serve.metrics import OTHER
from raymi.serve.problems import unexpected
from raymi.serve.scaling import OngoingRequests

SERVICE: str = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

INFER = f"/{SERVICE}/ModelInfer"
"""The call that metrics count by its own name."""

_OPEN_CALLS = frozenset({f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady"})
"""Probes of an orchestrator carry no token."""

_OK, _GONE = 200, 499
"""HTTP statuses; the second is what proxies write down for a caller that did not wait."""

_REQUEST_ID = "x-request-id"
_LONGEST_REQUEST_ID = 128

Observe = Callable[[str, str, int, float], None]
"""Told the call, the version that answered, the HTTP status that says the same, and the seconds."""


@dataclass(slots=True)
class _Call:
    """One call, as far as it is known."""

    observe: Observe
    version: str = ""
    """That answered."""


_Answer = Callable[[_Call, bytes], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class ServedOverGrpc:
    """A model, and who counts its answers."""

    answering: Answering
    """Shared with the HTTP flavour, and so are its limits."""

    observe: Observe
    """Told of every answer."""


class InferenceService:
    """Answers calls, each given as the bytes of its message."""

    def __init__(
        self, served: Sequence[ServedOverGrpc], guard: Guard, ongoing: OngoingRequests
    ) -> None:
        """Answer for these models.

        Args:
            served: At least one; the first also counts the calls that name no model.
            guard: Who may ask; shared with the HTTP flavour.
            ongoing: What replicas are scaled by; shared too.
        """
        self._first = served[0]
        self._served = {each.answering.models.name: each for each in served}
        self._guard = guard
        self._ongoing = ongoing
        self._prefix = secrets.token_hex(6)
        self._count = itertools.count()
        calls: dict[str, _Answer] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }
        self.calls: Mapping[str, _Answer] = {
            f"/{SERVICE}/{name}": call for name, call in calls.items()
        }
        """By path, such as `/inference.GRPCInferenceService/ModelInfer`."""

    @property
    def max_request_bytes(self) -> int:
        """Largest message."""
        return self._first.answering.limits.max_request_bytes

    async def answer(
        self, path: str, messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext
    ) -> bytes:
        """Answer one call.

        Args:
            path: One of `calls`.
            messages: The request's message.
            context: Of the call; takes its code where the answer is an error.
        """
        began_s = time.perf_counter()
        self._ongoing.began(began_s)
        said = dict(context.invocation_metadata() or ())
        request_id = str(said.get(_REQUEST_ID) or f"{self._prefix}-{next(self._count)}")
        own = (_REQUEST_ID, request_id[:_LONGEST_REQUEST_ID])
        call, status = _Call(self._first.observe), 500
        try:
            if path not in _OPEN_CALLS:
                self._guard.admit(_as_headers(said))
            body = await self._read(messages)
            response = await self.calls[path](call, body)
            status = _OK
            context.set_trailing_metadata((own,))
            answer: bytes = response.SerializeToString()
            return answer
        except asyncio.CancelledError:
            status = _GONE
            raise
        except RaymiError as error:
            status, fault = error.http_status, error
        except Exception as error:  # noqa: BLE001 - a caller gets an answer, whatever happened
            tell(error, own[1])
            fault = unexpected()
        finally:
            seconds = time.perf_counter() - began_s
            self._ongoing.ended(began_s, seconds)
            call.observe(path if path == INFER else OTHER, call.version, status, seconds)
        await context.abort(code_of(fault), details_of(fault), (own, *particulars(fault)))
        raise AssertionError("an aborted call has no answer")

    async def _read(self, messages: AsyncIterator[bytes]) -> bytes:
        """The one message of a call.

        Raises:
            RequestError: 408 where it is late, 400 where there is none.
        """
        limit_s = self._first.answering.limits.timeout_s
        try:
            return await asyncio.wait_for(anext(messages), limit_s)
        except TimeoutError:
            raise RequestError(
                "the message is late",
                why=f"it had not arrived after {limit_s:g} s",
                fix="send it at once, or deploy with a larger request_timeout_s",
                status=408,
            ) from None
        except StopAsyncIteration:
            raise RequestError(
                "the message is missing",
                why="the call ended without one",
                fix="send one message with each call",
                status=400,
            ) from None

    async def _server_live(self, _call: _Call, _body: bytes) -> Message:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _call: _Call, _body: bytes) -> Message:
        ready = all(_is_ready(each.answering) for each in self._served.values())
        return pb.ServerReadyResponse(ready=ready)

    async def _server_metadata(self, _call: _Call, _body: bytes) -> Message:
        return pb.ServerMetadataResponse(name="raymi", version=raymi.__version__)

    async def _model_ready(self, _call: _Call, body: bytes) -> Message:
        request = decode(pb.ModelReadyRequest, body)
        return pb.ModelReadyResponse(ready=self._find(request.name, request.version).is_ready)

    async def _model_metadata(self, _call: _Call, body: bytes) -> Message:
        request = decode(pb.ModelMetadataRequest, body)
        host = self._find(request.name, request.version)
        return model_metadata(host.served, host.signature)

    def _find(self, name: str, version: str) -> Host:
        models = self._model(name).answering.models
        return find_model(models, model_path(name, version))

    def _model(self, name: str) -> ServedOverGrpc:
        found = self._served.get(name)
        if found is None:
            raise no_such_model(*self._served)
        return found

    async def _model_infer(self, call: _Call, body: bytes) -> Message:
        require_few_parts(body)
        request: pb.ModelInferRequest = decode(pb.ModelInferRequest, body)
        served = self._model(request.model_name)
        call.observe, answering = served.observe, served.answering
        with answering.room_for(len(body)):
            host = answering.pick(model_path(request.model_name, request.model_version))

            async def compute(host: Host) -> Message:
                asked = parse(request, host.signature, max_rows=answering.limits.max_rows)
                predictions = await answering.predict(host, asked.rows)
                is_raw = bool(request.raw_input_contents)
                return infer_response(host.served, asked, predictions, raw=is_raw)

            response, call.version = await answering.answer(host, compute)
            return response


def _is_ready(answering: Answering) -> bool:
    try:
        return answering.models.active().is_ready
    except OverloadedError:
        return False


def _as_headers(metadata: Mapping[str, Any]) -> Headers:
    """Of what a call carries beside its message, what a guard looks at."""
    said = metadata.get("authorization")
    return {} if said is None else {b"authorization": str(said).encode()}
