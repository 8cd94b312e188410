"""Processes that belong to one local cluster: found by a mark they inherit, never by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

CLUSTER_ID = "RAYMI_CLUSTER_ID"
"""Environment variable that marks every process of one local cluster, jobs' own included."""

# For jobs that clean up after themselves; some of Ray's own processes ignore the request.
_TERM_WAIT_S = 3.0
_KILL_WAIT_S = 5.0
_ROUNDS = 5
_MAX_TITLE = 70


def find(pid: int | None, create_time: float | None) -> psutil.Process | None:
    """The process recorded as (pid, create_time), unless it is gone.

    A pid alone may by now belong to somebody else's process.
    """
    if pid is None or create_time is None:
        return None
    try:
        process = psutil.Process(pid)
        alive = process.create_time() == create_time and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process if alive else None


def create_time(pid: int) -> float | None:
    """When the kernel created a process, in seconds since the epoch; None if it is gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def title(process: psutil.Process) -> str:
    """What a process calls itself, shortened."""
    try:
        words = process.cmdline() or [process.name()]
    except psutil.Error:
        return "ended"
    return " ".join(Path(word).name if word.startswith("/") else word for word in words)[
        :_MAX_TITLE
    ]


def is_inside(cluster_id: str) -> bool:
    """Whether this very process belongs to the cluster, as a job on it does."""
    return os.environ.get(CLUSTER_ID) == cluster_id


def owned_by(cluster_id: str) -> list[psutil.Process]:
    """Every living process of a cluster: those with its mark, and all their descendants.

    A process that erases its environment and then leaves its parent is beyond reach.

    The process that asks and its ancestors are never among them, even when a job of the
    cluster is what asks.
    """
    marked = [process for process in psutil.process_iter() if _has_mark(process, cluster_id)]
    found = {process.pid: process for process in marked}
    for process in marked:
        found |= {child.pid: child for child in _descendants(process)}
    for pid in _self_and_ancestors():
        found.pop(pid, None)
    return list(found.values())


def stop_owned(cluster_id: str) -> list[psutil.Process]:
    """End every process of a cluster: SIGTERM, a short wait, then SIGKILL.

    Returns:
        Those that could not be ended: normally none.
    """
    # A process may start another while it is being ended, so the search is repeated.
    for _ in range(_ROUNDS):
        owned = owned_by(cluster_id)
        if not owned:
            return []
        for process in owned:
            _quietly(process.terminate)
        _, alive = psutil.wait_procs(owned, timeout=_TERM_WAIT_S)
        for process in alive:
            _quietly(process.kill)
        psutil.wait_procs(alive, timeout=_KILL_WAIT_S)
    return owned_by(cluster_id)


def listening(processes: Iterable[psutil.Process]) -> list[tuple[str, int]]:
    """(address, port) of every TCP listener of these processes, sorted, each once."""
    found: set[tuple[str, int]] = set()
    for process in processes:
        try:
            connections = process.net_connections(kind="tcp")
        except (psutil.Error, OSError):
            continue
        found |= {
            (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
            for connection in connections
            if connection.status == psutil.CONN_LISTEN
        }
    return sorted(found)


def _has_mark(process: psutil.Process, cluster_id: str) -> bool:
    try:
        return process.environ().get(CLUSTER_ID) == cluster_id
    except (psutil.Error, OSError):
        # Another user's, just gone, or a kernel thread: not ours in any case.
        return False


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _self_and_ancestors() -> set[int]:
    me = psutil.Process(os.getpid())
    return {me.pid, *(parent.pid for parent in me.parents())}


def _quietly(signal: Callable[[], None]) -> None:
    try:
        signal()
    except psutil.Error:
        return
