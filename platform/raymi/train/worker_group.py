"""How many workers a run gets now, and when an elastic run should be given more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from raymi.accelerators.catalog import Accelerator
from raymi.specs.resources import ResourceSpec
from raymi.train.admission import Resources, num_workers_that_fit
from raymi.train.interruption import Cause, LeaveNote

ROOM_PATIENCE_S = 300.0
"""How long a run that has lost its place waits for room before it counts as failed."""

_LOOK_INTERVAL_S = 5.0
_LEAST_STAY_S = 30.0
"""An elastic group that has just started is left alone this long."""


def workers_now(
    spec: ResourceSpec, accelerator: Accelerator, nodes: Sequence[Resources]
) -> int | None:
    """Workers to start with on these nodes; None while there is no room for the fewest."""
    slots = min(num_workers_that_fit(spec, accelerator, nodes), spec.max_workers)
    return slots if slots >= spec.min_workers else None


def wait_for_room(
    spec: ResourceSpec,
    accelerator: Accelerator,
    nodes: Callable[[], Sequence[Resources]],
    *,
    patience_s: float = ROOM_PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> int | None:
    """The number of workers to start, as soon as there is room; None when patience ends."""
    began = clock()
    while (found := workers_now(spec, accelerator, nodes())) is None:
        if clock() - began >= patience_s:
            return None
        sleep(1.0)
    return found


@contextmanager
def growth_watched(
    spec: ResourceSpec,
    accelerator: Accelerator,
    nodes: Callable[[], Sequence[Resources]],
    *,
    num_workers: int,
    note: LeaveNote,
) -> Iterator[None]:
    """While the block runs, ask the workers to leave once more of them would fit."""
    if num_workers == spec.max_workers:
        yield
        return
    ended = threading.Event()

    def look() -> None:
        ended.wait(_LEAST_STAY_S)
        while not ended.wait(_LOOK_INTERVAL_S):
            if (workers_now(spec, accelerator, nodes()) or 0) > num_workers:
                note.write(Cause.RESIZE)
                return

    thread = threading.Thread(target=look, name="growth", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
