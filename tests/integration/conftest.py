"""A Ray cluster of the tests' own: its ports, its directory, its token; ended by its own id."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests

START_TIMEOUT_S = 90.0
RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True)
class TestCluster:
    """How to reach the cluster."""

    __test__ = False

    dashboard_url: str
    gcs_address: str
    token: str
    serve_port: int
    head_pid: int
    environment: Mapping[str, str] = field(default_factory=dict)
    """What further nodes are started with."""


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on at this moment."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty RAYMI_HOME, for this process and for the cluster."""
    path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYMI_HOME", str(path))
        patch.delenv("RAYMI_STORE", raising=False)
        patch.delenv("RAYMI_DATABASE_URL", raising=False)
        yield path


@pytest.fixture(scope="session")
def token() -> str:
    """Of every cluster of the session: a process that has used one keeps it."""
    return secrets.token_hex(32)


@pytest.fixture(scope="module")
def cluster(home: Path, repository: Path, token: str) -> Iterator[TestCluster]:
    """A head with two CPUs."""
    with running_head(repository, token, num_cpus=2) as head:
        yield head


@contextlib.contextmanager
def running_head(
    repository: Path,
    token: str,
    *,
    num_cpus: int,
    num_gpus: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[TestCluster]:
    """Start a head, and end it and all it has started.

    Args:
        repository: Root of the checkout; workers import from there.
        token: Of the cluster.
        num_cpus: That it may give away.
        num_gpus: The same, whether they are there or not; None: what Ray finds.
        variables: Environment of its daemons, over what every head here has.
    """
    # Ray puts sockets under its directory, and their paths may not be long.
    directory = Path(tempfile.mkdtemp(prefix="raymi-", dir="/tmp"))
    gcs, dashboard, agent, agent_grpc, client, metrics, serve = free_ports(7)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(repository / "platform"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_TMPDIR": str(directory),
        "OMP_NUM_THREADS": "1",
        # As on Raymi's own heads; with Ray's 15, tests wait for whatever else the machine does.
        "RAY_worker_niceness": "0",
        **(variables or {}),
    }
    environment.pop("RAY_ADDRESS", None)
    command = [
        RAY, "start", "--head", "--block",
        f"--port={gcs}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}",
        f"--ray-client-server-port={client}", f"--metrics-export-port={metrics}",
        f"--num-cpus={num_cpus}", "--object-store-memory=100000000", "--disable-usage-stats",
        f"--temp-dir={directory}",
    ]  # fmt: skip
    if num_gpus is not None:
        command.append(f"--num-gpus={num_gpus}")
    log = (directory / "head.log").open("w")
    head = subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        url = f"http://127.0.0.1:{dashboard}"
        wait_until_it_answers(url, token, head)
        yield TestCluster(url, f"127.0.0.1:{gcs}", token, serve, head.pid, environment)
    finally:
        stop(head)
        log.close()
        shutil.rmtree(directory, ignore_errors=True)


def start_node(cluster: TestCluster, *, num_cpus: int) -> subprocess.Popen[bytes]:
    """Start one more node; whoever asked ends it with `stop`."""
    agent, agent_grpc, metrics = free_ports(3)
    command = [
        RAY, "start", "--block", f"--address={cluster.gcs_address}", f"--num-cpus={num_cpus}",
        f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}",
        f"--metrics-export-port={metrics}",
        "--object-store-memory=100000000", "--disable-usage-stats",
    ]  # fmt: skip
    return subprocess.Popen(
        command,
        env=cluster.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def job(
    cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[pytest.MonkeyPatch]:
    """This process as a job on the cluster, in a directory of its own.

    Yields what sets its environment, which is undone at the end.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster.gcs_address)
        patch.setenv("RAY_AUTH_TOKEN", cluster.token)
        patch.chdir(tmp_path_factory.mktemp("job"))
        yield patch
        import ray

        ray.shutdown()


def stop(head: subprocess.Popen[bytes]) -> None:
    """End the head and everything it started, and nothing else."""
    started = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
    head.kill()
    head.wait()
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(started, timeout=10)


def wait_until_it_answers(url: str, token: str, head: subprocess.Popen[bytes]) -> None:
    """Wait for the dashboard's Serve interface."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    headers = {"Authorization": f"Bearer {token}"}
    while time.monotonic() < deadline_s and head.poll() is None:
        try:
            if requests.get(f"{url}/api/version", headers=headers, timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    pytest.fail(f"the cluster did not start (exit code {head.poll()})")
