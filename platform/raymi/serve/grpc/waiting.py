"""Waiting until HAProxy hands gRPC calls on: it learns of a replica a moment after Serve does."""

from __future__ import annotations

import time

import grpc

from raymi.serve.grpc import open_inference_pb2 as pb
from raymi.serve.grpc.open_inference_pb2_grpc import GRPCInferenceServiceStub

_TIMEOUT_S = 15.0
_POLL_INTERVAL_S = 0.1


def wait_until_live(endpoint: str, application: str, *, timeout_s: float = _TIMEOUT_S) -> bool:
    """Ask again and again whether an application answers.

    Args:
        endpoint: `HOST:PORT`.
        application: Its name; others may answer there too.
        timeout_s: For how long.

    Returns:
        Whether it did.
    """
    deadline_s = time.monotonic() + timeout_s
    # A proxy of the environment has no business between us and a cluster's own port.
    with grpc.insecure_channel(endpoint, options=(("grpc.enable_http_proxy", 0),)) as channel:
        stub = GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call] # generated
        metadata = (("application", application),)
        while True:
            try:
                stub.ServerLive(pb.ServerLiveRequest(), metadata=metadata, timeout=1.0)
                return True
            except grpc.RpcError:
                if time.monotonic() >= deadline_s:
                    return False
            time.sleep(_POLL_INTERVAL_S)
