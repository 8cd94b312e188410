"""Files of local heads outside RAYMI_HOME: a short private directory, a lock, last words."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from raymi.control.ports import HeadPorts, is_free
from raymi.control.preflight import TEMP_ROOT
from raymi.errors import ConflictError, RaymiError

_PORTS = "ports.json"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# What Ray writes when one of its processes ends by itself, before what `ray start` printed.
_EXIT_LOG = Path("session_latest", "logs", "ray_process_exit.log")
_MAX_READ_BYTES = 100_000


def temp_dir_for(cluster_id: str) -> Path:
    """Where Ray keeps its sockets for one cluster.

    Short, and not under RAYMI_HOME: the path of a socket may have 107 characters, and Ray
    itself adds about 75.
    """
    return temp_root() / cluster_id[:6]


def temp_root() -> Path:
    """The directory that holds one directory for each local head of this user."""
    return TEMP_ROOT / f"raymi-{os.getuid()}"


def make_temp_dir(path: Path, ports: HeadPorts) -> None:
    """Make a head's directory, for its owner alone, and note the head's ports in it.

    Raises:
        RaymiError: Its parent is not a directory of this user: whoever made it could read or
            replace what is inside.
    """
    root = path.parent
    root.mkdir(mode=0o700, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise RaymiError(
            f"{root}: not a directory of yours",
            why="a head's sockets must not lie where another user could replace them",
            fix=f"remove {root}",
        )
    # Ray opens its own directories to everybody; nobody else gets past this one.
    root.chmod(0o700)
    path.mkdir(mode=0o700)
    ports.save(path / _PORTS)


def ports_of_other_heads() -> set[int]:
    """Ports this user's other living heads hold or keep for Serve, under any RAYMI_HOME."""
    reserved: set[int] = set()
    for file in temp_root().glob(f"*/{_PORTS}"):
        try:
            ports = HeadPorts.load(file)
        except (OSError, ValidationError):
            continue
        if not is_free(ports.gcs):
            reserved.update(ports.held())
    return reserved


@contextmanager
def locked(path: Path, *, wait_s: float) -> Iterator[None]:
    """Hold a lock file; the kernel lets go of it when the holder ends, however it ends.

    Raises:
        ConflictError: Another process holds it for longer than `wait_s`.
    """
    deadline = time.monotonic() + wait_s
    with path.open("w") as file:
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise ConflictError(
                    "another `raymi up` or `raymi down` is at work",
                    why=f"it has held {path} for more than {wait_s:.0f} s",
                    fix="wait for it or end it, then ask again",
                )
            time.sleep(0.1)
        yield


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock right now."""
    try:
        with path.open("r") as file:
            return not _try_lock(file.fileno())
    except FileNotFoundError:
        return False


def last_words(log: Path, temp_dir: Path, *, num_lines: int = 6) -> str:
    """The last lines of the log that says why a head ended."""
    for candidate in (temp_dir / _EXIT_LOG, log):
        try:
            text = candidate.read_bytes()[-_MAX_READ_BYTES:].decode("utf-8", errors="replace")
        except OSError:
            continue
        lines = [line.rstrip() for line in _ANSI.sub("", text).splitlines() if line.strip()]
        if lines:
            return "\n    ".join(lines[-num_lines:])
    return f"nothing was written to {log}"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
