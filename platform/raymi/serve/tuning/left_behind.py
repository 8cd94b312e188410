"""Temporary applications that a killed tuning left on the cluster: whose they were, and away."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
from pydantic import ValidationError

from raymi.store.record import Record

TUNINGS = "tunings"
"""Below the store: a directory for each tuning."""

_OWNER_FILE = "owner.json"


class Owner(Record):
    """The process that took a temporary application upon itself to remove."""

    application: str
    """Its name."""

    host: str
    """Where the process runs."""

    pid: int
    """The process."""

    create_time: float
    """When the kernel created it, in seconds since the epoch: a pid is used again."""


def claim(directory: Path, application: str) -> None:
    """Note in a tuning's directory that this process removes an application.

    Args:
        directory: Of the tuning.
        application: The temporary one.
    """
    pid = os.getpid()
    created = psutil.Process(pid).create_time()
    owner = Owner(application=application, host=platform.node(), pid=pid, create_time=created)
    owner.save(directory / _OWNER_FILE)


def left_behind(
    owners: Iterable[Owner],
    applications: Iterable[str],
    *,
    host: str,
    is_alive: Callable[[Owner], bool],
) -> tuple[str, ...]:
    """Applications that nobody removes any more, by name.

    Of a process on another host nobody here knows whether it is alive: its application stays.

    Args:
        owners: Everybody who has ever noted one.
        applications: What is on the cluster.
        host: This one.
        is_alive: Whether a process of this host runs.
    """
    there = set(applications)
    gone = {
        owner.application
        for owner in owners
        if owner.application in there and owner.host == host and not is_alive(owner)
    }
    return tuple(sorted(gone))


def find_left_behind(tunings_dir: Path, applications: Iterable[str]) -> tuple[str, ...]:
    """Of what is on the cluster, what tunings of this store have left behind.

    Args:
        tunings_dir: Where tunings have their directories.
        applications: What is on the cluster.
    """
    return left_behind(_owners(tunings_dir), applications, host=platform.node(), is_alive=_is_alive)


def _owners(tunings_dir: Path) -> list[Owner]:
    found = []
    for path in sorted(tunings_dir.glob(f"*/{_OWNER_FILE}")):
        # A note that cannot be read names nobody, and then nothing is removed.
        with contextlib.suppress(OSError, ValidationError):
            found.append(Owner.load(path))
    return found


def _is_alive(owner: Owner) -> bool:
    try:
        process = psutil.Process(owner.pid)
        is_the_same = process.create_time() == owner.create_time
        return is_the_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
