"""The gRPC server of one replica, which shares the event loop and the models of its HTTP server.

Serve has gRPC servers of its own, but binds them to every interface, and reads a whole message of
any caller. This one listens where the replica's HTTP server does, at a port that follows from that
one's, so that HAProxy, which Serve tells only of HTTP, knows it too.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import grpc

from raymi.serve.grpc.ports import grpc_port_beside
from raymi.serve.grpc.service import InferenceService

_MAX_METADATA_BYTES = 16 * 1024
_ONLY_IDENTITY = 1
"""Bit set of compressions that are taken: a small message could unpack to more than the limit."""

_log = logging.getLogger("ray.serve")


class ReplicaServer:
    """Listens, once it is told where."""

    def __init__(self, service: InferenceService) -> None:
        """Remember what answers; nothing listens yet."""
        self._service = service
        self._server: grpc.aio.Server | None = None

    async def listen_beside(self, host: str, http_port: int) -> None:
        """Listen on the interface of an HTTP server, at the port that belongs to its port.

        That it cannot is logged: the HTTP server goes on answering.
        """
        address = f"{host}:{grpc_port_beside(http_port)}"
        try:
            await self.listen(address)
        except RuntimeError as error:
            _log.error("no gRPC at %s: %s", address, error)

    async def listen(self, address: str) -> int:
        """Listen at an address; port 0 is any free one.

        Returns:
            The port.

        Raises:
            RuntimeError: Somebody else listens there.
        """
        server = grpc.aio.server(
            handlers=(_Handler(self._service),),
            options=(
                ("grpc.max_receive_message_length", self._service.max_request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
                ("grpc.compression_enabled_algorithms_bitset", _ONLY_IDENTITY),
                # Two servers at one port would take turns.
                ("grpc.so_reuseport", 0),
            ),
        )
        port: int = server.add_insecure_port(address)
        await server.start()
        self._server = server
        return port

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; end those that are not over in time."""
        if self._server is not None:
            await self._server.stop(grace_s)


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds what answers a call."""

    def __init__(self, service: InferenceService) -> None:
        self._methods = {path: _method(service, path) for path in service.calls}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """What answers a call; None: nothing does."""
        return self._methods.get(handler_call_details.method)


def _method(service: InferenceService, path: str) -> grpc.RpcMethodHandler:
    async def answer(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        return await service.answer(path, messages, context)

    # On the wire one message is a stream of one. Asked for as a stream, it is read when the caller
    # has been let in, and not before.
    return grpc.stream_unary_rpc_method_handler(answer)
