"""A replica learns from the first health check where its HTTP server is reached."""

import asyncio

from raymi.serve.grpc.ports import FIRST_REPLICA_PORT, LAST_REPLICA_PORT, grpc_port_beside
from raymi.serve.ingress import DirectIngress, answer_directly


def test_only_the_first_health_check_tells_where_the_replica_is_reached():
    told, passed_on = [], []

    async def application(scope, receive, send):
        passed_on.append(scope["path"])

    async def once_reached(host, port):
        told.append((host, port))

    async def ask():
        ingress = DirectIngress(application)
        for path in ("/predict", "/-/healthz", "/-/healthz"):
            await ingress({"type": "http", "path": path, "server": ("127.0.0.1", 30_004)}, 0, 0)

    answer_directly(application, route_prefix="/", once_reached=once_reached)
    try:
        asyncio.run(ask())
    finally:
        answer_directly(None, route_prefix="/")

    assert told == [("127.0.0.1", 30_004)]
    assert passed_on == ["/predict", "/-/healthz", "/-/healthz"]


def test_ports_of_grpc_and_of_http_never_meet():
    http = range(FIRST_REPLICA_PORT, LAST_REPLICA_PORT + 1)

    assert not {grpc_port_beside(port) for port in http} & set(http)
    assert grpc_port_beside(http[-1]) < 32_768  # from which Linux takes ports by itself
