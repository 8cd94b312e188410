"""What HAProxy is told about gRPC: a port of its own, and behind it the replicas it has for HTTP.

Serve's configuration names the HTTP servers of every application's replicas. From that follow their
gRPC servers, which are up when those are. A call goes to the application that its metadata names as
`application`; where there is one only, to that. Each call of a connection goes to the replica with
the fewest.
"""

from __future__ import annotations

import re
from pathlib import Path

from raymi.serve.grpc.ports import grpc_port_beside

_BACKEND = re.compile(r"(?m)^backend (?P<name>http-(?P<application>\S+))$")
_SERVER = re.compile(r"(?m)^ +server (?P<name>\S+) (?P<host>\S+):(?P<port>\d+) (?!.*\bbackup\b)")
_HTTP_FRONTEND = re.compile(r"(?m)^frontend http_frontend$(?:\n .*)*?\n +bind (?P<host>\S*):\d+")

_NOT_FOUND, _UNAVAILABLE = 5, 14

_REFUSALS = {
    "grpc-unavailable.http": (
        _UNAVAILABLE,
        "no replica can take the request: all are busy, or none is up; "
        "repeat the request in a second",
    ),
    "grpc-nowhere.http": (
        _NOT_FOUND,
        "no such application: none answers here, or several do; "
        "name one of them as application in the metadata",
    ),
}
_BUSY, _NOWHERE = _REFUSALS


def write_refusals(directory: Path) -> None:
    """Write what HAProxy itself answers: gRPC says what is wrong in headers, with status 200."""
    for name, (code, message) in _REFUSALS.items():
        (directory / name).write_bytes(
            (
                "HTTP/1.1 200 OK\r\n"
                "content-type: application/grpc\r\n"
                f"grpc-status: {code}\r\n"
                f"grpc-message: {message}\r\n"
                "content-length: 0\r\n"
                "\r\n"
            ).encode()
        )


def grpc_section(
    config: str, *, port: int, directory: Path, max_per_replica: int, max_waiting: int
) -> str:
    """The part of HAProxy's configuration that is about gRPC.

    Args:
        config: What it says about HTTP.
        port: Where to listen, on the interface that HTTP has.
        directory: Where `write_refusals` has written.
        max_per_replica: Calls that a replica gets at once.
        max_waiting: Calls that may wait for a replica.
    """
    frontend = _HTTP_FRONTEND.search(config)
    if frontend is None:
        return ""
    backends = [(found, _body(config, found.end())) for found in _BACKEND.finditer(config)]
    lines = [
        "frontend grpc_frontend",
        f"    bind {frontend['host']}:{port} proto h2",
        "    log global",
    ]
    for found, _ in backends:
        rule = f"{{ req.hdr(application) -m str {found['application']} }}"
        lines.append(f"    use_backend grpc-{found['application']} if {rule}")
    one = [found["application"] for found, _ in backends] if len(backends) == 1 else []
    # One that is named and is not there must not be answered by another.
    lines += [
        f"    use_backend grpc-{name} if !{{ req.hdr(application) -m found }}" for name in one
    ]
    lines += [
        "    default_backend grpc_nowhere",
        "backend grpc_nowhere",
        f"    http-request return status 200 errorfile {directory / _NOWHERE}",
    ]
    for found, body in backends:
        lines += [
            f"backend grpc-{found['application']}",
            "    log global",
            "    http-reuse always",
            f"    http-request return status 200 errorfile {directory / _BUSY} "
            f"if {{ avg_queue gt {max_waiting} }}",
            *(f"    errorfile {status} {directory / _BUSY}" for status in (502, 503, 504)),
        ]
        for server in _SERVER.finditer(body):
            address = f"{server['host']}:{grpc_port_beside(int(server['port']))}"
            lines.append(
                f"    server {server['name']} {address} proto h2 "
                f"track {found['name']}/{server['name']} maxconn {max_per_replica}"
            )
    return "\n".join(lines) + "\n"


def _body(config: str, start: int) -> str:
    """The indented lines that follow."""
    found = re.match(r"(?:\n(?: .*)?(?=\n|$))*", config[start:])
    return found[0] if found else ""
