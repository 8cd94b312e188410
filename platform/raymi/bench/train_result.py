"""TrainSpeed: what the training bench measured, and what that says about the bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raymi.significance.interval import Interval, ratio_interval

OURS, REFERENCE, CONTROL = "raymi", "torchrun", "torchrun-b"
ALONE, TOGETHER = "alone", "together"

BARS = {"torchrun": 0.99, "fabric": 1.0, "accelerate": 1.0}
"""The least ratio that Raymi on Ray Train claims against each."""

Rounds = Sequence[Mapping[str, float]]
"""Samples per second of whoever ran in each round."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """From one worker to many, against what this machine can do at all."""

    num_workers: int

    alone_samples_per_s: float
    """One process by itself."""

    limit_samples_per_s: float
    """As many independent processes as workers, at the same time, added up."""

    limit_speedup: Interval
    """The limit relative to one process: less than the number of workers where they share
    memory bandwidth, clock speed or cores."""

    speedup: Interval
    """Raymi on Ray Train relative to one process."""

    efficiency: Interval
    """Raymi on Ray Train relative to the limit: what communication costs."""

    def to_document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "num_workers": self.num_workers,
            "alone_samples_per_s": self.alone_samples_per_s,
            "limit_samples_per_s": self.limit_samples_per_s,
            "limit_speedup": self.limit_speedup.to_document(),
            "speedup": self.speedup.to_document(),
            "efficiency": self.efficiency.to_document(),
        }


@dataclass(frozen=True, slots=True)
class TrainSpeed:
    """Medians, paired ratios and what could not be measured."""

    samples_per_s: dict[str, float]
    ratios: dict[str, Interval]
    """Raymi on Ray Train relative to the others."""
    noise_floor: float | None
    """How far a contestant's interval reaches from 1 when it is compared with itself."""
    scaling: Scaling | None
    lost: dict[str, str] = field(default_factory=dict)
    """Contestant -> why it was not measured to the end."""

    def to_document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "samples_per_s": self.samples_per_s,
            "ratios": {name: ratio.to_document() for name, ratio in self.ratios.items()},
            "noise_floor": self.noise_floor,
            "scaling": self.scaling.to_document() if self.scaling else {},
        }


def summarise(rounds: Rounds, *, num_workers: int, lost: Mapping[str, str]) -> TrainSpeed:
    """Turn every round's speeds into medians, ratios and intervals."""
    names = sorted({name for one in rounds for name in one} - {ALONE, TOGETHER})
    return TrainSpeed(
        samples_per_s={name: _median(rounds, name) for name in names},
        ratios={name: ratio for name in BARS if (ratio := _ratio(rounds, OURS, name)) is not None},
        noise_floor=(
            control.distance_from_one
            if (control := _ratio(rounds, REFERENCE, CONTROL)) is not None
            else None
        ),
        scaling=_scaling(rounds, num_workers),
        lost=dict(lost),
    )


def verdict(ratio: Interval, bar: float, *, noise_floor: float | None) -> str:
    """What a ratio says about a bar, on a machine with this much noise."""
    side = "met" if ratio.median >= bar else "missed"
    is_sure = ratio.low >= bar or ratio.high < bar
    if is_sure and abs(ratio.median - bar) >= (noise_floor or 0.0):
        return side
    return f"{side}, but within the noise"


def _scaling(rounds: Rounds, num_workers: int) -> Scaling | None:
    limit_speedup = _ratio(rounds, TOGETHER, ALONE)
    speedup = _ratio(rounds, OURS, ALONE)
    efficiency = _ratio(rounds, OURS, TOGETHER)
    if limit_speedup is None or speedup is None or efficiency is None:
        return None
    return Scaling(
        num_workers=num_workers,
        alone_samples_per_s=_median(rounds, ALONE),
        limit_samples_per_s=_median(rounds, TOGETHER),
        limit_speedup=limit_speedup,
        speedup=speedup,
        efficiency=efficiency,
    )


def _median(rounds: Rounds, name: str) -> float:
    return float(np.median([one[name] for one in rounds if name in one]))


def _ratio(rounds: Rounds, ours: str, theirs: str) -> Interval | None:
    """Over the rounds in which both ran."""
    pairs = [(one[ours], one[theirs]) for one in rounds if ours in one and theirs in one]
    if not pairs:
        return None
    return ratio_interval([pair[0] for pair in pairs], [pair[1] for pair in pairs])
