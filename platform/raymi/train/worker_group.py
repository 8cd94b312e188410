"""How many workers a run gets now, and when an elastic run should be given more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raymi.accelerators.catalog import Accelerator
from raymi.specs.resources import ResourceSpec
from raymi.train.admission import Resources, num_workers_that_fit, worker_resources

SETTLING_S = 5.0
"""How long an elastic run waits for room for all its workers before it starts with fewer: a
worker group that has just ended gives its place back a little later."""

LEAST_STAY_S = 30.0
"""Elastic workers that have just begun are left alone this long: each change of their number
costs a start."""

GROWTH_INTERVAL_S = 5.0
"""Between two looks at whether there is room for more; two in a row must find it."""

_WAIT_INTERVAL_S = 0.5


def workers_now(
    spec: ResourceSpec, accelerator: Accelerator, free: Sequence[Resources]
) -> int | None:
    """Workers to start in the free part of these nodes; None if not even the fewest fit."""
    slots = min(num_workers_that_fit(spec, accelerator, free), spec.max_workers)
    return slots if slots >= spec.min_workers else None


@dataclass(frozen=True, slots=True)
class Room:
    """What a run asks for, and where to look for it."""

    spec: ResourceSpec
    """The worker group."""

    accelerator: Accelerator
    """What each worker gets."""

    free: Callable[[], Sequence[Resources]]
    """What nobody has taken of each node, now."""

    def workers_now(self) -> int | None:
        """See `workers_now`."""
        return workers_now(self.spec, self.accelerator, self.free())

    def has_more(self) -> bool:
        """Whether one worker more would fit."""
        return num_workers_that_fit(self.spec, self.accelerator, self.free()) > 0

    def sentence(self) -> str:
        """What is wanted and what there is, for people."""
        need = worker_resources(self.spec, self.accelerator)
        wanted = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
        there = "; ".join(
            ", ".join(f"{node.get(name, 0.0):g} {name}" for name in need) for node in self.free()
        )
        return (
            f"{self.spec.min_workers} workers need {wanted} each; "
            f"free on each node: {there or 'nothing'}"
        )


def wait_for_room(
    room: Room,
    *,
    patience_s: float,
    is_over: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> int | None:
    """The number of workers to start, as soon as there is room.

    Args:
        room: Where to look.
        patience_s: How long to wait.
        is_over: Whether waiting has become pointless.
        clock: Seconds.
        sleep: Waits for as many seconds.

    Returns:
        None once patience ends, or waiting is over.
    """
    began = clock()
    while not is_over():
        waited_s = clock() - began
        found = room.workers_now()
        is_settled = waited_s >= min(SETTLING_S, patience_s)
        if found is not None and (found == room.spec.max_workers or is_settled):
            return found
        if waited_s >= patience_s:
            return None
        sleep(_WAIT_INTERVAL_S)
    return None


class GrowthWatch:
    """Says once when an elastic worker group should make way for a larger one."""

    def __init__(
        self,
        room: Room,
        *,
        num_workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._room = room
        self._is_small = num_workers < room.spec.max_workers
        self._clock = clock
        self._look_at: float | None = None
        self._num_found = 0

    def began(self) -> None:
        """The workers train; until now, what they take may have looked free."""
        self._look_at = self._clock() + LEAST_STAY_S

    def is_due(self) -> bool:
        """Whether they should leave now; looks at the cluster now and then."""
        now = self._clock()
        if not self._is_small or self._look_at is None or now < self._look_at:
            return False
        self._look_at = now + GROWTH_INTERVAL_S
        self._num_found = self._num_found + 1 if self._room.has_more() else 0
        return self._num_found >= 2
