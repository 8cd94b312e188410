"""A Ray cluster of several hosts on one machine: each host is a network namespace of its own.

Only root can make them, and only where the kernel has them: `why_not` says what is missing.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import requests

RAY = str(Path(sys.executable).parent / "ray")
GCS_PORT, DASHBOARD_PORT, SERVE_PORT = 6379, 8265, 8000
START_TIMEOUT_S = 90.0
_STARTED = "Ray runtime started"


def why_not() -> str | None:
    """Why this machine can have no hosts of this kind; None: it can."""
    if shutil.which("ip") is None:
        return "there is no `ip` (iproute2)"
    probe = f"raymi-{secrets.token_hex(2)}"
    made = subprocess.run(
        ["ip", "netns", "add", probe], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        return f"no network namespace can be made: {made.stderr.strip()}"
    _ip("netns", "del", probe)
    return None


class Hosts:
    """Hosts 0, 1, ... in a network of their own; the first is Ray's head."""

    def __init__(
        self, count: int, *, environment: Mapping[str, str], directory: Path, token: str
    ) -> None:
        """Make the network.

        Args:
            count: How many hosts, the head among them.
            environment: Of every Ray process.
            directory: For Ray's files, shared by all; a short path, since sockets are in it.
            token: Of the cluster.
        """
        self._network = f"10.{80 + secrets.randbelow(40)}.{secrets.randbelow(256)}"
        self._mark = f"rm{secrets.token_hex(2)}"
        self._directory = directory
        self._token = token
        self._environment = dict(environment)
        self._started: dict[int, subprocess.Popen[bytes]] = {}
        _ip("link", "add", self._mark, "type", "bridge")
        _ip("addr", "add", f"{self._network}.1/24", "dev", self._mark)
        _ip("link", "set", self._mark, "up")
        for host in range(count):
            self._connect(host)
        self._hosts = range(count)

    @property
    def dashboard_url(self) -> str:
        """Of the head."""
        return f"http://{self.address(0)}:{DASHBOARD_PORT}"

    @property
    def serve_port(self) -> int:
        """Of HAProxy, on every host."""
        return SERVE_PORT

    def address(self, host: int) -> str:
        """Where the others and this process reach it."""
        return f"{self._network}.{host + 2}"

    def start_head(self) -> None:
        """Start Ray on the first host, with what it had stored before, and wait for it."""
        self._ray(
            0, "--head", "--num-cpus=0", f"--port={GCS_PORT}", f"--temp-dir={self._directory}",
            f"--dashboard-host={self.address(0)}", f"--dashboard-port={DASHBOARD_PORT}",
        )  # fmt: skip
        headers = {"Authorization": f"Bearer {self._token}"}
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(requests.RequestException):
                url = f"{self.dashboard_url}/api/version"
                if requests.get(url, headers=headers, timeout=5).ok:
                    return
            assert time.monotonic() < deadline_s, "the head did not start"
            time.sleep(0.2)

    def start_worker(self, host: int) -> None:
        """Start Ray on another host, and wait for it.

        One after the other: they share the head's directory, in which two that start at once would
        choose the same names.
        """
        self._ray(host, f"--address={self.address(0)}:{GCS_PORT}", "--num-cpus=1")
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while _STARTED not in self._log(host).read_text():
            assert time.monotonic() < deadline_s, f"host {host} did not start"
            time.sleep(0.2)

    def lose(self, host: int) -> None:
        """Everything on a host ends at once, as if its power were cut, and nothing says so."""
        _ip("link", "set", f"{self._mark}{host}", "down")
        for pid in self.pids(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if host in self._started:
            self._started.pop(host).wait()
        while self.pids(host):
            time.sleep(0.02)

    def reconnect(self, host: int) -> None:
        """The host is back in the network; nothing runs there."""
        _ip("link", "set", f"{self._mark}{host}", "up")

    def pids(self, host: int) -> list[int]:
        """Every process of a host."""
        return [int(pid) for pid in _ip("netns", "pids", self._namespace(host)).split()]

    def close(self) -> None:
        """End every host and take the network away."""
        for host in self._hosts:
            self.lose(host)
            _ip("netns", "del", self._namespace(host))
        _ip("link", "del", self._mark)

    def _namespace(self, host: int) -> str:
        return f"{self._mark}-{host}"

    def _log(self, host: int) -> Path:
        return self._directory.parent / f"host-{host}.log"

    def _connect(self, host: int) -> None:
        name, cable = self._namespace(host), f"{self._mark}{host}"
        _ip("netns", "add", name)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", cable, "master", self._mark, "up")
        _ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "route", "add", "default", "via", f"{self._network}.1")

    def _ray(self, host: int, *arguments: str) -> None:
        command = [
            # Processes of a host see their own only, and end with the first of them.
            "ip", "netns", "exec", self._namespace(host), "unshare", "--pid", "--fork",
            "--mount-proc", "--kill-child",
            RAY, "start", "--block", f"--node-ip-address={self.address(host)}",
            "--object-store-memory=100000000", "--disable-usage-stats", *arguments,
        ]  # fmt: skip
        with self._log(host).open("a") as log:
            self._started[host] = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )


@contextlib.contextmanager
def several_hosts(count: int, *, environment: Mapping[str, str], token: str) -> Iterator[Hosts]:
    """Hosts without Ray, gone at the end with everything on them."""
    directory = Path(tempfile.mkdtemp(prefix="raymi-", dir="/tmp"))  # sockets want short paths
    ray = directory / "ray"
    ray.mkdir()
    with contextlib.closing(
        Hosts(count, environment=environment, directory=ray, token=token)
    ) as hosts:
        yield hosts
    shutil.rmtree(directory, ignore_errors=True)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout
