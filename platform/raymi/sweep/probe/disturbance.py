"""Was the machine disturbed during a window? Told by what others did, never by the result."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

FOREIGN_SHARE = 0.25
"""Of all CPUs of a machine: from here on a window on CPUs does not count. Ray's own processes take
a few hundredths."""

_TICK_S = 0.01
"""The kernel counts each CPU's time in steps of this size: it may be one off."""


@dataclass(frozen=True, slots=True)
class Usage:
    """One look at a machine's CPUs and at this process."""

    at_s: float
    busy_s: float
    """All CPUs: used by anybody, or taken away by the host of a virtual machine."""

    own_s: float
    """This process, all threads."""


@dataclass(frozen=True, slots=True)
class Spell:
    """What one worker saw between two looks."""

    machine: int
    """The same number for all workers of a machine."""

    num_cpus: int
    span_s: float
    busy_s: float
    own_s: float


def look() -> Usage:
    """Now; takes a fraction of a millisecond."""
    times = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    # Linux counts guests among users, too.
    guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return Usage(
        at_s=time.monotonic(), busy_s=sum(times) - guests_s - idle_s, own_s=time.process_time()
    )


def between(before: Usage, after: Usage, *, machine: int) -> Spell:
    """What happened between two looks of one worker."""
    return Spell(
        machine=machine,
        num_cpus=os.cpu_count() or 1,
        span_s=after.at_s - before.at_s,
        busy_s=after.busy_s - before.busy_s,
        own_s=after.own_s - before.own_s,
    )


def foreign_share(spells: Iterable[Spell]) -> float:
    """CPU time that others used, as a share of what a machine has; of the worst machine.

    Args:
        spells: Of all workers; those that had nothing to do saw only a part of the time.
    """
    by_machine: dict[int, list[Spell]] = {}
    for spell in spells:
        by_machine.setdefault(spell.machine, []).append(spell)
    return max(map(_share_of_others, by_machine.values()), default=0.0)


def _share_of_others(spells: list[Spell]) -> float:
    longest = max(spells, key=lambda spell: spell.span_s)
    if longest.span_s <= 0.0:
        return 0.0
    own_s = sum(spell.own_s for spell in spells)
    others_s = longest.busy_s - own_s - _TICK_S * longest.num_cpus
    return max(0.0, others_s / (longest.span_s * longest.num_cpus))


def verdict(share: float | None, *, throttled: bool) -> str | None:
    """Why a window does not count; None if it does.

    Args:
        share: See `foreign_share`; None where the work is not done by CPUs.
        throttled: Whether an accelerator's clock was held down.
    """
    if throttled:
        return "power or heat held the clock down"
    if share is not None and share > FOREIGN_SHARE:
        return f"other processes used {share:.0%} of the CPUs"
    return None


def host() -> str:
    """Names this machine."""
    return socket.gethostname()
