"""Which TCP ports a local head gets: those asked for, the usual ones, or any free ones."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Collection

import psutil

from raymi.errors import ConflictError, RaymiError, SpecError
from raymi.serve.grpc.ports import FIRST_REPLICA_PORT, LAST_REPLICA_PORT, grpc_port_beside
from raymi.store.record import Record

LOOPBACK = "127.0.0.1"

USUAL_DASHBOARD_PORT = 8265
USUAL_SERVE_PORT = 8000
USUAL_GRPC_PORT = 8001

# Below the range from which Linux takes ports for outgoing connections (32768 and up), so that
# nothing grabs one between the choice and its use; above Ray's own workers (10002-19999).
FIRST_PORT, LAST_PORT = 20_000, FIRST_REPLICA_PORT - 1
REPLICA_PORTS = 100
"""How many replicas' ports a head has; those of replicas that ended rest for some minutes."""
_LOWEST_UNPRIVILEGED_PORT, _HIGHEST_PORT = 1024, 65_535


class HeadPorts(Record):
    """The ports of one head that are fixed before it starts; Ray binds all others to port 0."""

    gcs: int
    """Ray's own protocol; `ray.init` connects here."""

    dashboard: int
    """HTTP: jobs, Serve configuration, state, web page."""

    agent: int
    """HTTP of the node's dashboard agent, which starts jobs."""

    client: int
    """Ray Client (`ray://`); Ray starts it whether it is wanted or not."""

    serve: int
    """HTTP of Serve. Nothing listens before the first application is deployed."""

    grpc: int
    """gRPC of Serve's applications; as `serve`, it is only listened to once there is one."""

    dashboard_metrics: int
    """Prometheus: the dashboard's own metrics."""

    autoscaler_metrics: int
    """Prometheus: the autoscaler's own metrics."""

    haproxy_stats: int
    """Read by Serve only when HAProxy is its ingress."""

    haproxy_metrics: int
    """Read by Serve only when HAProxy is its ingress."""

    fallback: int
    """HTTP of the Serve proxy that answers where an application has no replica."""

    fallback_grpc: int
    """The same proxy's gRPC."""

    first_replica: int
    """HTTP of replicas: from here, `REPLICA_PORTS` in a row; their gRPC is beside them."""

    @property
    def last_replica(self) -> int:
        """The last port that a replica's HTTP server may have."""
        return self.first_replica + REPLICA_PORTS - 1

    def by_name(self) -> dict[str, int]:
        """Every port under its name."""
        return dict(self)

    def held(self) -> set[int]:
        """Every port that is this head's, whether or not anything listens there."""
        return {*self.by_name().values(), *_ports_of_replicas(self.first_replica)}


def choose_ports(
    *,
    dashboard: int | None,
    serve: int | None,
    grpc: int | None = None,
    reserved: Collection[int] = (),
    free: Callable[[int], bool] | None = None,
) -> HeadPorts:
    """Settle every port of a head.

    Args:
        dashboard: The port asked for, or None for 8265 or, if that is taken, any free one.
        serve: The same for Serve, whose usual port is 8000.
        grpc: The same for gRPC, whose usual port is 8001.
        reserved: Ports that are spoken for, although nothing may listen there yet.
        free: Whether nothing listens on a port; asks the kernel by default.

    Raises:
        ConflictError: A port that was asked for is taken.
        SpecError: A port that was asked for is not one this user may open, or both are the same.
    """
    is_open = free or is_free
    taken = set(reserved)

    def settle(name: str, asked: int | None, usual: int | None = None) -> int:
        if asked is not None:
            _require_free(name, asked, taken, is_open)
            chosen = asked
        elif usual is not None and usual not in taken and is_open(usual):
            chosen = usual
        else:
            chosen = _any_free(taken, is_open)
        taken.add(chosen)
        return chosen

    # What was asked for is settled first, so that no other choice can take it.
    asked_serve = settle("serve", serve) if serve is not None else None
    asked_grpc = settle("grpc", grpc) if grpc is not None else None
    return HeadPorts(
        dashboard=settle("dashboard", dashboard, USUAL_DASHBOARD_PORT),
        serve=asked_serve or settle("serve", None, USUAL_SERVE_PORT),
        grpc=asked_grpc or settle("grpc", None, USUAL_GRPC_PORT),
        gcs=settle("gcs", None),
        agent=settle("agent", None),
        client=settle("client", None),
        dashboard_metrics=settle("dashboard metrics", None),
        autoscaler_metrics=settle("autoscaler metrics", None),
        haproxy_stats=settle("haproxy stats", None),
        haproxy_metrics=settle("haproxy metrics", None),
        fallback=settle("fallback", None),
        fallback_grpc=settle("fallback grpc", None),
        first_replica=_free_for_replicas(taken, is_open),
    )


def is_free(port: int) -> bool:
    """Whether nothing listens on this port on any interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of an earlier listener that wait out their time do not count as taken;
        # a listener does, with or without this option.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def listened_to(ports: Collection[int]) -> list[int]:
    """Those of the ports that have a listener, sorted.

    A port may have none and still not be free for a while: connections of an earlier listener
    wait out their time, and block it unless that listener had allowed reuse.
    """
    listening = {
        connection.laddr.port
        for connection in psutil.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    }
    return sorted(listening & set(ports))


def holder_of(port: int) -> str:
    """Who listens on a port, in words, as far as this user may see."""
    for process in psutil.process_iter(["pid", "name"]):
        try:
            connections = process.net_connections(kind="tcp")
        except (psutil.Error, OSError):
            continue
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
            return f"process {process.info['pid']} ({process.info['name']}) listens there"
    return "something that this user may not inspect listens there"


def _require_free(
    name: str, port: int, taken: Collection[int], is_open: Callable[[int], bool]
) -> None:
    option = f"--{name}-port"
    if not _LOWEST_UNPRIVILEGED_PORT <= port <= _HIGHEST_PORT:
        raise SpecError(
            f"{option} {port}: not a port a local head can use",
            why=f"ports go from {_LOWEST_UNPRIVILEGED_PORT} to {_HIGHEST_PORT}",
            fix=f"leave {option} out to get a free one",
        )
    if port in taken:
        raise ConflictError(
            f"{option} {port}: already spoken for",
            why="another port of this head, or another local head of yours, has the same number",
            fix=f"choose another, or leave {option} out to get a free one",
        )
    if not is_open(port):
        raise ConflictError(
            f"{option} {port}: taken",
            why=holder_of(port),
            fix=f"choose another, or leave {option} out to get a free one",
        )


def _ports_of_replicas(first: int) -> set[int]:
    http = range(first, first + REPLICA_PORTS)
    return {*http, *map(grpc_port_beside, http)}


def _free_for_replicas(taken: Collection[int], is_open: Callable[[int], bool]) -> int:
    """The first of ports that no other head's replicas have.

    HAProxy asks a replica's port for as long as it has not heard that the replica ended. If another
    cluster's replica had that port by then, it would be asked instead.
    """
    starts = list(range(FIRST_REPLICA_PORT, LAST_REPLICA_PORT + 1, REPLICA_PORTS))
    secrets.SystemRandom().shuffle(starts)
    for first in starts:
        if all(port not in taken and is_open(port) for port in _ports_of_replicas(first)):
            return first
    raise RaymiError(
        f"no {REPLICA_PORTS} free ports in a row for the replicas of a head",
        why=f"each {REPLICA_PORTS} from {FIRST_REPLICA_PORT} to {LAST_REPLICA_PORT}, or the gRPC "
        "ports beside them, have a listener or belong to another local head",
        fix="stop what listens there; `ss -ltnp` shows it",
    )


def _any_free(taken: Collection[int], is_open: Callable[[int], bool]) -> int:
    count = LAST_PORT - FIRST_PORT + 1
    # A random start keeps two heads that start at once out of each other's way.
    start = secrets.randbelow(count)
    for offset in range(count):
        port = FIRST_PORT + (start + offset) % count
        if port not in taken and is_open(port):
            return port
    raise RaymiError(
        f"no free port between {FIRST_PORT} and {LAST_PORT}",
        why="every one of them has a listener",
        fix="stop what listens there; `ss -ltnp` shows it",
    )
