"""What a run has cost: accelerator-seconds and joules, from what it has left on disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from raymi.accelerators.energy import EnergyMethod
from raymi.train.events import Event
from raymi.train.run_files import read_run

STARTING = "starting"
"""A worker group is asked for; its workers are held from now on."""

ENDED = "ended"
"""The attempt is over, and its workers are let go."""

_AFTER_THE_END = frozenset({STARTING, "failure", "stopped"})
"""What a driver says only when no attempt is under way."""


def accelerator_seconds(events: Iterable[Event]) -> float:
    """Workers times the seconds that they were held, over all attempts of a run.

    An attempt whose driver was killed counts up to the last thing that was written during it.

    Args:
        events: Of the run, in order.
    """
    total_s = 0.0
    began_at, num_workers, last_at = 0.0, 0, 0.0
    for event in events:
        if event["event"] in _AFTER_THE_END:
            # Where nobody has said that the attempt before is over, it was cut off.
            total_s += num_workers * (last_at - began_at)
            num_workers = 0
        if event["event"] == STARTING:
            began_at, num_workers = event["time"], event["num_workers"]
        last_at = event["time"]
        if event["event"] == ENDED:
            total_s += num_workers * (last_at - began_at)
            num_workers = 0
    return total_s + num_workers * (last_at - began_at)


def run_energy_j(run_dir: Path) -> float | None:
    """What all workers of a finished run used, in joules.

    None if no instrument told or only a guess, or if only the last of several attempts is known.
    """
    run = read_run(run_dir)
    if run is None or run.telemetry is None or len(run.of_kind("attempt")) != 1:
        return None
    energy = run.telemetry.energy
    if energy is None or energy.method is EnergyMethod.ESTIMATED:
        return None
    return energy.joules
