"""Requests a second and their times, in rounds: every server in turn, in an order drawn anew.

Each server runs alone, started afresh for its turn, so that nobody pays for another one's idle
processes and what differs from start to start is part of the interval.
"""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raymi.bench.serving.model import random_rows
from raymi.bench.serving.servers import (
    BENTOML,
    FASTAPI,
    LITSERVE,
    PEERS,
    RAYMI,
    STOCK,
    Server,
    Stage,
    serving,
)
from raymi.errors import UnreachableError
from raymi.serve.binary import LENGTH_HEADER
from raymi.serve.load.generator import Outcome, closed_loop
from raymi.serve.load.message import request_bytes
from raymi.significance.interval import Interval, ratio_interval

Say = Callable[[str], None]

BARS = {STOCK: 10.0, FASTAPI: 1.2, LITSERVE: 1.2, BENTOML: 1.2}
"""What is claimed of single JSON rows, against each."""

BINARY_BAR = 0.8
"""What is claimed of 64-row binary requests, against the bare model."""

NUM_BINARY_ROWS = 64
_NUM_PAYLOADS = 32
_WARM_UP_S = 2.0
_BINARY_CONNECTIONS = 16
_READY_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be measured."""

    stage: Stage
    num_rounds: int
    window_s: float
    num_connections: int
    names: tuple[str, ...] = (*PEERS, RAYMI)


@dataclass(slots=True)
class Measured:
    """One server over all rounds."""

    requests_per_s: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    failed: int = 0


@dataclass(frozen=True, slots=True)
class ServeSpeed:
    """Everything that was measured."""

    servers: dict[str, Measured]
    ratios: dict[str, Interval]
    """Requests a second of Raymi to those of each other."""

    binary_rows_per_s: list[float]
    bare_rows_per_s: list[float]
    request: Request

    @property
    def binary_ratio(self) -> Interval | None:
        """Rows a second in binary requests, to the bare model's."""
        if not self.binary_rows_per_s:
            return None
        return ratio_interval(self.binary_rows_per_s, self.bare_rows_per_s)

    def to_document(self) -> dict[str, Any]:
        """For programs."""
        binary = self.binary_ratio
        return {
            "requests_per_s": {
                name: statistics.median(m.requests_per_s) for name, m in self.servers.items()
            },
            "p99_ms": {name: statistics.median(m.p99_ms) for name, m in self.servers.items()},
            "p50_ms": {name: statistics.median(m.p50_ms) for name, m in self.servers.items()},
            "ratios": {name: ratio.median for name, ratio in self.ratios.items()},
            "ratio_intervals": {
                name: [ratio.low, ratio.high] for name, ratio in self.ratios.items()
            },
            "binary_rows_vs_bare_model": binary.median if binary else None,
            "binary_rows_interval": [binary.low, binary.high] if binary else None,
            "binary_rows_per_s": self.binary_rows_per_s,
            "bare_rows_per_s": self.bare_rows_per_s,
            "failed": {name: m.failed for name, m in self.servers.items()},
            "rounds": self.request.num_rounds,
            "window_s": self.request.window_s,
            "connections": self.request.num_connections,
            "processes": self.request.stage.num_processes,
            "hidden": list(self.request.stage.model.hidden),
        }


def measure(request: Request, *, say: Say) -> ServeSpeed:
    """Let every server take its turn in every round.

    Raises:
        UnreachableError: A server did not start, or does not answer as the others do.
    """
    servers = {name: Measured() for name in request.names}
    binary, bare = [], []
    order = random.Random(0)  # noqa: S311 - an order, not a secret
    for number in range(request.num_rounds):
        turns = list(request.names)
        order.shuffle(turns)
        for name in turns:
            with serving(name, request.stage) as server:
                _require_same_answer(name, server)
                outcome = _single_rows(server, request)
                _add(servers[name], outcome)
                say(
                    f"round {number + 1} of {request.num_rounds}: {name:16} "
                    f"{outcome.good_per_s:7.0f} requests/s, p99 {outcome.percentile_ms(99):6.1f} ms"
                )
                if name == RAYMI:
                    binary.append(_binary_rows(server, request))
            if name == RAYMI:
                bare.append(bare_rows_per_s(request.stage, request.window_s))
                say(f"    64-row binary {binary[-1]:.0f} rows/s, bare model {bare[-1]:.0f}")
    ratios = {
        name: ratio_interval(servers[RAYMI].requests_per_s, servers[name].requests_per_s)
        for name in request.names
        if name != RAYMI
    }
    return ServeSpeed(servers, ratios, binary, bare, request)


def json_requests(server: Server) -> list[bytes]:
    """One row each, as every server here takes it."""
    headers = {"authorization": f"Bearer {server.token}"} if server.token else None
    return [
        request_bytes(
            "/predict",
            json.dumps({"rows": [{"image": row}]}).encode(),
            content_type="application/json",
            headers=headers,
        )
        for row in random_rows(_NUM_PAYLOADS).astype(np.float64).round(4).tolist()
    ]


def _add(measured: Measured, outcome: Outcome) -> None:
    measured.requests_per_s.append(outcome.good_per_s)
    measured.p99_ms.append(outcome.percentile_ms(99))
    measured.p50_ms.append(outcome.percentile_ms(50))
    measured.failed += outcome.failed + len(outcome.rejected_latencies_s)


def _single_rows(server: Server, request: Request) -> Outcome:
    requests = json_requests(server)
    for window_s in (_WARM_UP_S, request.window_s):
        outcome = closed_loop(
            server.port, requests, num_connections=request.num_connections, duration_s=window_s
        )
    return outcome


def _binary_rows(server: Server, request: Request) -> float:
    """Rows a second in requests of 64 rows as bytes, answered as bytes."""
    rows = random_rows(NUM_BINARY_ROWS)
    inputs = {
        "name": "image",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": rows.nbytes},
    }
    document = {"inputs": [inputs], "parameters": {"binary_data_output": True}}
    text = json.dumps(document).encode()
    headers = {LENGTH_HEADER: str(len(text)), "authorization": f"Bearer {server.token}"}
    body = request_bytes(
        "/v2/models/bench/infer",
        text + rows.tobytes(),
        content_type="application/octet-stream",
        headers=headers,
    )
    for window_s in (_WARM_UP_S, request.window_s):
        outcome = closed_loop(
            server.port, [body], num_connections=_BINARY_CONNECTIONS, duration_s=window_s
        )
    if outcome.failed or not outcome.latencies_s:
        raise UnreachableError(
            "Raymi refused a binary request",
            why=outcome.first_fault[:200].decode(errors="replace"),
            fix="read the replica's log",
        )
    return outcome.good_per_s * NUM_BINARY_ROWS


def bare_rows_per_s(stage: Stage, window_s: float) -> float:
    """Rows a second of the model alone, a process for each of a server's, all at once."""
    command = [sys.executable, "-m", "raymi.bench.serving.bare", str(stage.model.home)]
    processes = [
        subprocess.Popen([*command, str(window_s)], stdout=subprocess.PIPE, text=True)
        for _ in range(stage.num_processes)
    ]
    return sum(float(process.communicate()[0]) for process in processes)


def _require_same_answer(name: str, server: Server) -> None:
    """Ask until it answers, and check that it serves the model that it should.

    Raises:
        UnreachableError: It does not.
    """
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    found: Any = None
    while time.monotonic() < deadline_s:
        found = _ask_once(server)
        if found is not None:
            break
        time.sleep(0.2)
    expected = {"label", "probability"}
    if not isinstance(found, dict) or set(found["predictions"][0]) != expected:
        raise UnreachableError(
            f"{name} does not answer as it should",
            why=f"it said {str(found)[:200]}",
            fix="read its log",
        )


def _ask_once(server: Server) -> Any:
    import requests

    raw = json_requests(server)[0]
    body = raw[raw.index(b"\r\n\r\n") + 4 :]
    headers = {"content-type": "application/json"}
    if server.token:
        headers["authorization"] = f"Bearer {server.token}"
    with contextlib.suppress(requests.RequestException), requests.Session() as session:
        session.trust_env = False
        url = f"http://127.0.0.1:{server.port}/predict"
        answer = session.post(url, data=body, headers=headers, timeout=10)
        if answer.status_code == 200:
            return answer.json()
    return None


def default_peers(prefix: Path) -> Path:
    """Interpreter of the environment that `make bench` makes beside this one."""
    return prefix.parent / ".venv-peers" / "bin" / "python"


def require_peers(python: Path) -> None:
    """Check that the other servers are installed.

    Raises:
        UnreachableError: They are not.
    """
    if not python.is_file():
        raise UnreachableError(
            "the servers to compare with are not installed",
            why=f"{python} is no Python interpreter",
            fix="`make bench-peers` installs them, in an environment of their own",
        )
