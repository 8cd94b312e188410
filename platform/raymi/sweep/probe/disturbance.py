"""Was the machine disturbed during a window? Told by what others did, never by the result."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

import psutil

FOREIGN_SHARE = 0.25
"""Of all CPUs of the machine: from here on a window does not count. Ray's own processes take a few
hundredths."""


@dataclass(frozen=True, slots=True)
class Usage:
    """One look at a machine's CPUs and at one process."""

    at_s: float
    busy_s: float
    """All CPUs: in use by anybody, or taken away by the host."""

    own_s: float
    """This process, all threads."""


def look() -> Usage:
    """Now; takes a fraction of a millisecond."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return Usage(at_s=time.monotonic(), busy_s=total - idle, own_s=time.process_time())


def foreign_share(before: Usage, after: Usage, *, group_own_s: float) -> float:
    """CPU time that others used, as a share of what the machine has.

    Args:
        before: At the beginning.
        after: At the end.
        group_own_s: Used meanwhile by all workers on this machine.
    """
    capacity_s = (after.at_s - before.at_s) * (os.cpu_count() or 1)
    others_s = after.busy_s - before.busy_s - group_own_s
    return max(0.0, others_s / capacity_s) if capacity_s > 0 else 0.0


def verdict(share: float, *, throttled: bool) -> str | None:
    """Why a window does not count; None if it does."""
    if throttled:
        return "the clock was held down by power or heat"
    if share > FOREIGN_SHARE:
        return f"other processes used {share:.0%} of the CPUs"
    return None


def host() -> str:
    """Names this machine for as long as it is up."""
    return f"{socket.gethostname()}-{psutil.boot_time():.0f}"
