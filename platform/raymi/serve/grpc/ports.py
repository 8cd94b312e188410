"""Where replicas listen: HTTP in a range that nothing else takes ports from, gRPC beside it."""

from __future__ import annotations

FIRST_REPLICA_PORT, LAST_REPLICA_PORT = 26_000, 28_999
"""HTTP. A cluster has all of these, or a part (`RAY_SERVE_DIRECT_INGRESS_*_HTTP_PORT`)."""

_OFFSET = LAST_REPLICA_PORT - FIRST_REPLICA_PORT + 1
"""gRPC ends at 31999; Linux takes ports from 32768 for outgoing connections."""


def grpc_port_beside(http_port: int) -> int:
    """The gRPC port of a replica whose HTTP server has this port."""
    return http_port + _OFFSET
