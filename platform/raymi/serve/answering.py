"""The answer path that every wire format shares: which version answers, and what if it fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Protocol, TypeVar

import pyarrow as pa

from raymi.errors import OverloadedError, RaymiError, RequestError
from raymi.evaluate.predictor import Predictions
from raymi.registry.signature import Signature
from raymi.serve.host import NoFiniteAnswerError
from raymi.serve.identity import RequestLimits, ServedModel

_log = logging.getLogger("ray.serve")

Found = TypeVar("Found")


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
        raise no_such_model(models.name)
    if (number := path.get("version")) is None:
        return models.active()
    host = models.version(number)
    if host is None:
        raise RequestError(
            "no such version here",
            why=f"this endpoint serves version {models.active().served.version} of {models.name}",
            fix=f"ask for {models.name} without a version",
            status=404,
        )
    return host


def no_such_model(*known: str) -> RequestError:
    """What is said to who asks for another model than those that are here."""
    return RequestError(
        "no such model here",
        why=f"this endpoint serves {', '.join(known)}",
        fix=f"ask for the model {known[0]}",
        status=404,
    )


class Answering:
    """One model's answers, in whatever format they were asked for.

    Belongs to one event loop.
    """

    def __init__(self, models: Models, limits: RequestLimits) -> None:
        """Answer for these versions of a model."""
        self.models = models
        self.limits = limits
        self._bytes_at_once = 0

    @contextlib.contextmanager
    def room_for(self, num_bytes: int) -> Iterator[None]:
        """Take a request on, if all those that are here leave room for so many bytes of it.

        Raises:
            OverloadedError: They do not.
        """
        if self._bytes_at_once + num_bytes > self.limits.max_bytes_at_once and self._bytes_at_once:
            raise OverloadedError(
                "the model is busy",
                why=f"{self._bytes_at_once} bytes of requests are being answered already",
                fix="repeat the request in a second, or deploy more replicas",
                retry_after_s=1,
            )
        self._bytes_at_once += num_bytes
        try:
            yield
        finally:
            self._bytes_at_once -= num_bytes

    def pick(self, path: Mapping[str, str]) -> Host:
        """The version for a request: the one it names, or any.

        Raises:
            RequestError: 404: another model, or a version that is not loaded.
            OverloadedError: So much waits for it that the request would be refused.
        """
        is_any = path["name"] == self.models.name and "version" not in path
        host = self.models.pick() if is_any else find_model(self.models, path)
        host.require_room()
        return host

    async def answer(
        self, host: Host, compute: Callable[[Host], Awaitable[Found]]
    ) -> tuple[Found, str]:
        """The answer of a version, or where it fails that of one it was to replace.

        Args:
            host: The version that was picked.
            compute: Makes an answer with a version; called again with another where that fails.

        Returns:
            The answer, and the number of the version that gave it.

        Raises:
            RaymiError: The request is wrong, or cannot be taken on.
            Exception: What the network raised, where no other version stands in.
        """
        host.lease()
        try:
            return await compute(host), str(host.served.version)
        except (RaymiError, asyncio.CancelledError) as error:
            if not isinstance(error, NoFiniteAnswerError):
                raise
            return await self._answer_of_another(host, compute, error)
        except Exception as error:  # noqa: BLE001 - whatever a network may raise
            return await self._answer_of_another(host, compute, error)
        finally:
            host.release()

    async def _answer_of_another(
        self, host: Host, compute: Callable[[Host], Awaitable[Found]], error: Exception
    ) -> tuple[Found, str]:
        self.models.failed(host)
        other = self.models.instead_of(host)
        if other is None:
            raise error
        _log.warning("%s@%s failed: %s; another version answered", host.served.name,
                     host.served.version, type(error).__name__)  # fmt: skip
        other.lease()
        try:
            return await compute(other), str(other.served.version)
        finally:
            other.release()

    async def predict(self, host: Host, rows: pa.RecordBatch) -> Predictions:
        """Predict validated rows, and tell who watches the version.

        Raises:
            OverloadedError: Too much is waiting already.
            NoFiniteAnswerError: The network's answer for a row is not a finite number.
        """
        began_s = time.perf_counter()
        predictions = await host.predict(rows)
        self.models.answered(host, rows, predictions, time.perf_counter() - began_s)
        return predictions
