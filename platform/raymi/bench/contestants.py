"""Who takes part, how each is started, and the processes that it becomes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

import psutil

from raymi.bench.coordinator import LostContestantError
from raymi.bench.guard import Guard

_TERM_WAIT_S = 5.0
_KILL_WAIT_S = 5.0


class Kind(StrEnum):
    """What a contestant is made of; each has its own way into `raymi.bench.contestant`."""

    RAY = "ray"
    """The driver of Raymi's loop on Ray Train; its ranks are Ray's workers."""

    TORCHRUN = "torchrun"
    """Raymi's loop; started by torchrun."""

    SINGLE = "single"
    """Raymi's loop, alone in its process."""

    FABRIC = "fabric"
    """Lightning Fabric; started by torchrun."""

    ACCELERATE = "accelerate"
    """Hugging Face Accelerate; started by torchrun."""


_RAY_PATIENCE = (
    "RAY_health_check_timeout_ms",
    "RAY_grpc_keepalive_timeout_ms",
    "RAY_grpc_client_keepalive_timeout_ms",
)
"""How long Ray's processes wait for each other's sign of life: they are frozen between turns."""

_DISTRIBUTIONS = {Kind.FABRIC: "lightning_fabric", Kind.ACCELERATE: "accelerate"}


@dataclass(frozen=True, slots=True)
class Contestant:
    """One group of processes that can train."""

    name: str
    kind: Kind
    title: str
    """For people."""
    num_ranks: int

    @property
    def missing(self) -> str | None:
        """Why it cannot take part in this environment."""
        module = _DISTRIBUTIONS.get(self.kind)
        if module is None or find_spec(module):
            return None
        return "not installed; `make bench` installs it"


def contestants(num_workers: int) -> list[Contestant]:
    """Everybody, the longest to start first.

    `torchrun-b` is the control: what it differs by from `torchrun` is noise. The `single`
    processes are each one worker's part of the run without any communication.
    """
    groups = [
        Contestant("raymi", Kind.RAY, "Raymi on Ray Train", num_workers),
        Contestant("torchrun", Kind.TORCHRUN, "the same loop under torchrun", num_workers),
        Contestant("torchrun-b", Kind.TORCHRUN, "torchrun once more (control)", num_workers),
        Contestant("fabric", Kind.FABRIC, "Lightning Fabric", num_workers),
        Contestant("accelerate", Kind.ACCELERATE, "Hugging Face Accelerate", num_workers),
    ]
    if num_workers == 1:
        return groups
    singles = [
        Contestant(f"single-{number}", Kind.SINGLE, f"one process, number {number}", 1)
        for number in range(num_workers)
    ]
    return groups + singles


def command(contestant: Contestant, *, socket_path: Path, plan_path: Path) -> list[str]:
    """The command line that starts it."""
    module = ["-m", "raymi.bench.contestant", contestant.kind.value, contestant.name]
    files = [str(socket_path), str(plan_path)]
    if contestant.kind in (Kind.RAY, Kind.SINGLE):
        return [sys.executable, *module, *files]
    launcher = ["-m", "torch.distributed.run", "--standalone"]
    return [
        sys.executable, *launcher, f"--nproc-per-node={contestant.num_ranks}", *module, *files,
    ]  # fmt: skip


def environment(cpus_per_worker: int) -> dict[str, str]:
    """The environment of every contestant: one number of threads, one priority.

    Ray gives its workers nice 15 unless told otherwise; on a machine that does anything else
    they would then be compared at a lower priority than the rest.
    """
    threads = str(cpus_per_worker)
    variables = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "RAY_worker_niceness": "0",
        **dict.fromkeys(_RAY_PATIENCE, "600000"),
    }
    variables.pop("RAY_ADDRESS", None)
    return variables


class Running:
    """A contestant that was started."""

    def __init__(
        self, arguments: list[str], *, name: str, variables: dict[str, str], log_path: Path
    ) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches only who coordinates."""
        self.name = name
        self._log_path = log_path
        self._frozen: list[psutil.Process] = []
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                arguments,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def require_alive(self) -> None:
        """Raises LostContestantError with the last thing it said, if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise LostContestantError(self.name, f"exit code {code}: {self.last_words()}")

    def last_words(self) -> str:
        """The line of its output that says most about why it ended."""
        text = self._log_path.read_text(encoding="utf-8", errors="replace")
        return why_it_ended(text)

    def freeze(self, guard: Guard) -> None:
        """Stop every process of it where it is: what it does in the background costs nobody."""
        self._frozen = self._tree()
        guard.remember(self._frozen)
        for process in self._frozen:
            with contextlib.suppress(psutil.Error):
                process.suspend()

    def thaw(self) -> None:
        """Let it go on."""
        for process in self._frozen:
            with contextlib.suppress(psutil.Error):
                process.resume()
        self._frozen = []

    def stop(self) -> None:
        """End every process of it: SIGTERM, a short wait, SIGKILL."""
        self.thaw()
        tree = self._tree()
        for process in tree:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _, alive = psutil.wait_procs(tree, timeout=_TERM_WAIT_S)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=_KILL_WAIT_S)
        self._process.wait(_KILL_WAIT_S)

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._process.pid)
            return [*root.children(recursive=True), root]
        except psutil.NoSuchProcess:
            return []


def why_it_ended(output: str) -> str:
    """The last line that names an error, or the last line at all.

    >>> why_it_ended("Traceback:\\nKeyError: 'x'\\nmore\\n")
    "KeyError: 'x'"
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "Error: " in line or line.endswith("Error")]
    return (errors or lines or ["it said nothing"])[-1][:200]
