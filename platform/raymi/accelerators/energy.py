"""How much energy was used between the first and the last of some readings."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise

from raymi.accelerators.meters.protocol import Reading
from raymi.store.record import Record

MIN_COVERAGE = 0.9
"""Share of the time that power readings must span for their integral to stand for all of it."""


class EnergyMethod(StrEnum):
    """How an energy was told, the most trustworthy first."""

    COUNTER = "counter"
    """Difference of the device's own counter."""

    INTEGRATED = "integrated"
    """Integral of power read now and then."""

    ESTIMATED = "estimated"
    """Integral of a power that was at least partly assumed."""


class Energy(Record):
    """What a device's whole package used over some time."""

    joules: float
    """Energy; of a partitioned package, that of all its partitions."""

    mean_power_w: float
    """The same, per second."""

    method: EnergyMethod
    """How it was told."""


def energy_between(readings: Sequence[Reading]) -> Energy | None:
    """Energy used from the first reading to the last; None where nothing tells.

    A counter counts what happens between readings, so it comes first. One that fell at any time was
    reset, and one that stood still is too slow for so short a time: both are passed over. What is
    left are readings of power, joined by straight lines (trapezoid rule); power is taken to change
    slowly before the first and after the last of them.

    Args:
        readings: Of one meter, in order.

    Raises:
        ValueError: Time goes back between two of them.
    """
    if any(later.time_s < earlier.time_s for earlier, later in pairwise(readings)):
        raise ValueError("readings must be in order of time")
    duration_s = readings[-1].time_s - readings[0].time_s if readings else 0.0
    if duration_s <= 0.0:
        return None
    joules = _counted(readings)
    method = EnergyMethod.COUNTER
    if joules is None:
        joules = _integrated(readings, duration_s)
        is_estimate = any(reading.is_estimate for reading in readings)
        method = EnergyMethod.ESTIMATED if is_estimate else EnergyMethod.INTEGRATED
    if joules is None:
        return None
    return Energy(joules=joules, mean_power_w=joules / duration_s, method=method)


def _counted(readings: Sequence[Reading]) -> float | None:
    first, last = readings[0].energy_j, readings[-1].energy_j
    if first is None or last is None or last <= first:
        return None
    known = [reading.energy_j for reading in readings if reading.energy_j is not None]
    has_fallen = any(later < earlier for earlier, later in pairwise(known))
    return None if has_fallen else last - first


def _integrated(readings: Sequence[Reading], duration_s: float) -> float | None:
    powers = [(r.time_s, r.power_w) for r in readings if r.power_w is not None]
    span_s = powers[-1][0] - powers[0][0] if powers else 0.0
    if span_s <= 0.0 or span_s < MIN_COVERAGE * duration_s:
        return None
    area = sum(
        (later_s - earlier_s) * (earlier_w + later_w) / 2
        for (earlier_s, earlier_w), (later_s, later_w) in pairwise(powers)
    )
    before_s, after_s = powers[0][0] - readings[0].time_s, readings[-1].time_s - powers[-1][0]
    return area + before_s * powers[0][1] + after_s * powers[-1][1]
