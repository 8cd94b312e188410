"""A replica's gRPC server in this process, on a free port of the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import grpc

from raymi.serve.api import ModelApi
from raymi.serve.grpc.open_inference_pb2_grpc import GRPCInferenceServiceStub
from raymi.serve.grpc.server import ReplicaServer

LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def serving(api: ModelApi) -> Iterator[grpc.Channel]:
    """A channel to a server that answers with an application's models."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait_for(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=20)

    async def make() -> ReplicaServer:
        return ReplicaServer(api.over_grpc())

    server = wait_for(make())
    port = wait_for(server.listen(f"{LOOPBACK}:0"))
    try:
        with grpc.insecure_channel(f"{LOOPBACK}:{port}") as channel:
            yield channel
    finally:
        wait_for(server.stop(0))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=20)
        loop.close()


def stub_of(channel: grpc.Channel) -> GRPCInferenceServiceStub:
    """The six calls."""
    return GRPCInferenceServiceStub(channel)
