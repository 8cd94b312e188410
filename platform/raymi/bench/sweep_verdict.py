"""Which setting somebody would pick from finished runs, and which is best in truth: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raymi.significance.interval import ratio_interval


@dataclass(frozen=True, slots=True)
class Row:
    """One finished run."""

    setting: int
    seed: int
    metric: float
    samples_per_s: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What many seeds say."""

    winner: int
    """The fastest setting that is as good as the reference."""

    best: tuple[int, ...]
    """The winner and every setting that equals it: within the noise, or not told apart."""


class Space(Protocol):
    """What is known about the settings."""

    @property
    def reference(self) -> int:
        """The setting others may not be worse than."""

    @property
    def metric(self) -> str:
        """Name of the quality."""

    @property
    def higher_is_better(self) -> bool:
        """Its direction."""


def pick(rows: Sequence[Row], space: Space, *, margin: float) -> int | None:
    """The fastest setting whose quality is within the margin of the reference's, by single runs.

    If the reference was stopped, the best quality stands in for it.
    """
    if not rows:
        return None
    known = {row.setting: row.metric for row in rows}
    best = max if space.higher_is_better else min
    reference = known.get(space.reference, best(known.values()))
    good = [row for row in rows if is_as_good(row.metric, reference, space, margin=margin)]
    return max(good, key=lambda row: row.samples_per_s).setting if good else None


def truth_of(
    rows: Sequence[Row], space: Space, *, margin: float, noise_floor: float
) -> Truth | None:
    """What the means over seeds say; None if the reference never finished."""
    quality = _means(rows, "metric")
    speed = _means(rows, "samples_per_s")
    if space.reference not in quality:
        return None
    good = [
        setting
        for setting, value in quality.items()
        if is_as_good(value, quality[space.reference], space, margin=margin)
    ]
    winner = max(good, key=lambda setting: speed[setting])
    best = [s for s in good if s == winner or _is_tied(rows, s, winner, noise_floor)]
    return Truth(winner=winner, best=tuple(sorted(best)))


def is_as_good(value: float, reference: float, space: Space, *, margin: float) -> bool:
    """Whether a quality is worse than the reference's by the margin at most.

    Points of accuracy; a share of anything of which less is better.
    """
    if space.higher_is_better:
        return value >= reference - margin
    return value <= reference * (1.0 + margin)


def _means(rows: Sequence[Row], name: str) -> dict[int, float]:
    settings = {row.setting for row in rows}
    return {
        setting: float(np.mean([getattr(row, name) for row in rows if row.setting == setting]))
        for setting in settings
    }


def _is_tied(rows: Sequence[Row], setting: int, winner: int, noise_floor: float) -> bool:
    """Whether pairs of the same seed leave it open which of two is faster."""
    ours = {row.seed: row.samples_per_s for row in rows if row.setting == setting}
    theirs = {row.seed: row.samples_per_s for row in rows if row.setting == winner}
    seeds = sorted(ours.keys() & theirs.keys())
    ratio = ratio_interval([ours[s] for s in seeds], [theirs[s] for s in seeds])
    return ratio.high >= 1.0 or 1.0 - ratio.median <= noise_floor
