"""The Pareto front: settings that nothing measured beats in every respect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raymi.sweep.verdicts import Costs

_LESS_IS_BETTER = ("peak_memory_gib", "energy_j", "money")


def front_of(costs: Sequence[Costs], *, higher_is_better: bool) -> set[int]:
    """Settings for which no other is better in one respect and as good in all others.

    Respects are quality, speed, memory, energy and money, as far as anybody has them. What was
    not measured of a setting counts as worse than what was measured of others.

    Args:
        costs: Of settings that run.
        higher_is_better: Whether more quality is better.
    """
    signs = {"quality": 1.0 if higher_is_better else -1.0, "samples_per_s": 1.0}
    signs |= dict.fromkeys(_LESS_IS_BETTER, -1.0)
    points = np.array(
        [[_score(getattr(one, name), sign) for name, sign in signs.items()] for one in costs]
    )
    on_front = pareto_front(points.reshape(len(costs), len(signs)))
    return {one.setting for one, is_on in zip(costs, on_front, strict=True) if is_on}


def pareto_front(points: np.ndarray) -> np.ndarray:
    """Which points are dominated by none, (N,) of bool; equal points do not dominate each other.

    Args:
        points: (N, K), more is better in each; minus infinity where nothing is known.
    """
    as_good = (points[:, None, :] >= points[None, :, :]).all(axis=2)
    better = (points[:, None, :] > points[None, :, :]).any(axis=2)
    on_front: np.ndarray = ~np.asarray((as_good & better).any(axis=0))
    return on_front


def _score(value: float | None, sign: float) -> float:
    return -np.inf if value is None else sign * value
