"""Where a replica's gRPC server listens: at a port that follows from its HTTP server's."""

from __future__ import annotations

_OFFSET = 1001
"""Serve gives HTTP servers of replicas the ports 30000 to 31000; Linux takes those from 32768 for
outgoing connections."""


def grpc_port_beside(http_port: int) -> int:
    """The gRPC port of a replica whose HTTP server has this port."""
    return http_port + _OFFSET
