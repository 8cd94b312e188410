"""Whether this machine and this Python can run a local head, before anything is started."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from raymi.errors import RaymiError

TEMP_ROOT = Path("/tmp")  # noqa: S108 - a private directory is made in it, see `head_files`
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only its free space is asked for

# Ray's object store takes at least 75 MiB, and falls back to a file on disk without a word when
# shared memory is too small. Docker's default is 64 MiB.
MIN_SHARED_MEMORY_MIB = 128
# A head writes tens of megabytes of logs at once; Ray stops storing objects on a full disk.
MIN_DISK_MIB = 1024
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What matters about a machine."""

    platform: str
    """As `sys.platform` has it."""

    python: str
    """Path of the interpreter."""

    has_ray: bool
    """Ray can be imported by this interpreter."""

    free_shared_memory_mib: int
    """In /dev/shm."""

    free_disk_mib: int
    """Where sockets, logs and spilled objects go."""


def machine_facts() -> MachineFacts:
    """Look at this machine; Ray itself is not loaded."""
    return MachineFacts(
        platform=sys.platform,
        python=sys.executable,
        has_ray=importlib.util.find_spec("ray") is not None,
        free_shared_memory_mib=_free_mib(_SHARED_MEMORY),
        free_disk_mib=_free_mib(TEMP_ROOT),
    )


def require_able(facts: MachineFacts) -> None:
    """Refuse what could only fail later, and less clearly.

    Raises:
        RaymiError: The platform, the Python, /dev/shm or the disk cannot hold a head.
    """
    if facts.platform != "linux":
        raise RaymiError(
            f"no local head on {facts.platform}",
            why="Raymi starts Ray on Linux only; elsewhere it is not tested",
            fix="use a Linux machine or container, or WSL 2",
        )
    if not facts.has_ray:
        raise RaymiError(
            "Ray is not installed beside this Python",
            why=f"{facts.python} cannot import it",
            fix="`make setup`, or install raymi with its dependencies into this environment",
        )
    if facts.free_shared_memory_mib < MIN_SHARED_MEMORY_MIB:
        raise RaymiError(
            f"{_SHARED_MEMORY} has {facts.free_shared_memory_mib} MiB free, "
            f"a head needs {MIN_SHARED_MEMORY_MIB}",
            why="Ray keeps objects there",
            fix="free some, or start the container with `--shm-size=4g`",
        )
    if facts.free_disk_mib < MIN_DISK_MIB:
        raise RaymiError(
            f"{TEMP_ROOT} has {facts.free_disk_mib} MiB free, a head needs {MIN_DISK_MIB}",
            why="Ray keeps sockets, logs and spilled objects there",
            fix=f"free some space under {TEMP_ROOT}",
        )


def _free_mib(directory: Path) -> int:
    try:
        return shutil.disk_usage(directory).free // _MIB
    except OSError:
        return 0
