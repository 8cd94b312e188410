"""Everybody's server: how it is started, when it is ready, how it ends.

Each has a process for every core, and its own way to batch where that made it faster on the machine
this was written on: LitServe and Ray Serve batch, FastAPI and BentoML predict in their event loop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raymi.bench.serving.model import MEAN, NAME, STD, BenchModel
from raymi.errors import UnreachableError

_PEERS = Path(__file__).parents[1] / "serving_peers"
_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 30.0
_POLL_S = 0.2
_RAYMI = (sys.executable, "-m", "raymi")

STOCK, FASTAPI, LITSERVE, BENTOML, RAYMI = (
    "stock_ray_serve",
    "fastapi",
    "litserve",
    "bentoml",
    "raymi",
)
PEERS = (STOCK, FASTAPI, LITSERVE, BENTOML)


@dataclass(frozen=True, slots=True)
class Server:
    """One that answers."""

    port: int
    """On the loopback interface."""

    token: str | None = None
    """What requests carry."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What every server is started with."""

    model: BenchModel
    peers_python: Path
    """Interpreter of the environment that has the other servers."""

    num_processes: int
    """Server processes of each."""

    logs: Path
    """A directory for what they print."""


@contextmanager
def serving(name: str, stage: Stage) -> Iterator[Server]:
    """A server that is ready; it ends with the block.

    Raises:
        UnreachableError: It did not start.
    """
    if name == RAYMI:
        with _raymi(stage) as server:
            yield server
        return
    port = free_port()
    count = str(stage.num_processes)
    python = str(stage.peers_python)
    commands: dict[str, list[str]] = {
        STOCK: [sys.executable, "stock_ray_serve.py", str(port), count],
        FASTAPI: [python, "-m", "uvicorn", "fastapi_server:app", "--host", "127.0.0.1",
                  "--port", str(port), "--workers", count, "--log-level", "warning"],
        LITSERVE: [python, "litserve_server.py", str(port), count, "16"],
        BENTOML: [python, "-m", "bentoml", "serve", "bentoml_service:Bench", "--host",
                  "127.0.0.1", "--port", str(port)],
    }  # fmt: skip
    with _process(commands[name], stage, stage.logs / f"{name}.log") as process:
        _wait_until_it_listens(port, process, stage.logs / f"{name}.log", name)
        yield Server(port)


@contextmanager
def _process(command: list[str], stage: Stage, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            cwd=_PEERS,
            env=_environment(stage),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        _end(process)


def _environment(stage: Stage) -> dict[str, str]:
    """Nothing of another cluster, one thread a process, the model's weights."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RAYMI_", "PYTHON"))}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "BENCH_WEIGHTS": str(stage.model.weights),
        "BENCH_SCALE": f"{MEAN} {STD}",
        "BENCH_WORKERS": str(stage.num_processes),
        # Otherwise Ray gives its workers nice 15, and the load generator would come first.
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(stage.logs / "bentoml"),
        "LITSERVE_DISABLE_ANALYTICS": "1",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all it has started: it leads a session of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_STOP_TIMEOUT_S)
    _wait_until_gone(process.pid)


def _wait_until_gone(group: int) -> None:
    deadline_s = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(_POLL_S)


@contextmanager
def _raymi(stage: Stage) -> Iterator[Server]:
    port = free_port()
    environment = {
        **_environment(stage),
        "RAYMI_HOME": str(stage.model.home),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    # One CPU more than replicas, as for the stock server: an update needs a place to start.
    num_cpus = str(stage.num_processes + 1)
    _run(["up", "--serve-port", str(port), "--num-cpus", num_cpus], environment)
    try:
        count = f"num_replicas={stage.num_processes}"
        _run(["deploy", f"{NAME}@1", "--set", count], environment)
        token = (stage.model.home / "tokens" / NAME).read_text().strip()
        yield Server(port, token)
    finally:
        _run(["down"], environment)


def _run(arguments: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [*_RAYMI, *arguments], env=dict(environment), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UnreachableError(
            f"raymi {arguments[0]} failed",
            why=" ".join(done.stderr.split())[-400:],
            fix="try the same command by hand",
        )


def _wait_until_it_listens(
    port: int, process: subprocess.Popen[bytes], log: Path, name: str
) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(_POLL_S)
    last = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise UnreachableError(
        f"{name} did not start",
        why=" | ".join(last) or "it printed nothing",
        fix=f"read {log}",
    )


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
