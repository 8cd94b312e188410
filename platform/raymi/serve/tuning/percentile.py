"""How sure a measured p99 is, when requests that are close in time are late together.

A limit is above the p99 if fewer than one request in a hundred is later than it. How many are is
binomial, if requests are independent. These are not: one long batch delays all that wait behind it,
and one start of a replica is luckier than another. So the number of requests is divided by how much
more the share of late ones varies from block to block, or from run to run, than it would if they
were independent (the design effect, as in Woodruff, J. Am. Stat. Assoc. 47 (1952) 635). It is
taken at the limit in question, as luck that moves the p99 a little may say nothing about a limit
far above; but late ones are taken to come in groups at least like those beyond the p99.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc

_PERCENTILE = 0.99
_BLOCKS_PER_RUN = 20
_MOST_STEPS = 2000
"""Limits tried below the p99."""


@dataclass(frozen=True, slots=True)
class P99:
    """A p99 in the unit of its values; infinite where it lies among requests that failed."""

    value: float
    low: float
    high: float
    num_requests: int
    design_effect: float
    """By how much fewer independent requests would say as much."""


def p99_interval(
    runs: Sequence[tuple[Sequence[float], int]], *, confidence: float = 0.95
) -> P99 | None:
    """The p99 of all runs together; None without a request.

    Args:
        runs: For each run the times of good answers in the order they came, and how many requests
            failed: those count as infinitely late.
        confidence: Two-sided.
    """
    series = [_with_failed(times, failed) for times, failed in runs]
    ordered = np.sort(np.concatenate(series)) if series else np.zeros(0)
    if not len(ordered):
        return None
    value = _at(ordered, _PERCENTILE)
    tail = (1.0 - confidence) / 2.0
    late = _Late(series, value)
    below = ordered[ordered <= value][:: -max(1, len(ordered) // _MOST_STEPS)]
    above = ordered[ordered >= value]
    return P99(
        value=value,
        low=next((_above(ordered, limit) for limit in below if late.is_exceeded(limit, tail)), 0.0),
        high=next((float(limit) for limit in above if late.is_kept(limit, tail)), math.inf),
        num_requests=len(ordered),
        design_effect=late.effect(value),
    )


def _above(ordered: np.ndarray, limit: float) -> float:
    """The next value: a p99 above the limit is at least that."""
    return float(ordered[np.searchsorted(ordered, limit, side="right")])


def _with_failed(times: Sequence[float], num_failed: int) -> np.ndarray:
    """When they failed is not known: spread evenly."""
    places = np.linspace(0, len(times), num_failed, dtype=np.int64)
    return np.insert(np.asarray(times, dtype=np.float64), places, math.inf)


class _Late:
    """Which requests are later than a limit, and what that shows."""

    def __init__(self, series: Sequence[np.ndarray], value: float) -> None:
        self._runs = [times for times in series if len(times)]
        self._num = sum(len(times) for times in self._runs)
        self._groups = max(1.0, _inflation(_blocks([times > value for times in self._runs])))

    def is_kept(self, limit: float, tail: float) -> bool:
        """Whether fewer than one in a hundred are shown to be later."""
        if limit == math.inf:
            return False
        count, num = self._effective(limit)
        return float(betainc(num - count, count + 1.0, _PERCENTILE)) <= tail

    def is_exceeded(self, limit: float, tail: float) -> bool:
        """Whether more than one in a hundred are shown to be later."""
        count, num = self._effective(limit)
        return count > 0.0 and float(betainc(count, num - count + 1.0, 1.0 - _PERCENTILE)) <= tail

    def effect(self, limit: float) -> float:
        """By how much fewer independent requests would say as much about a limit."""
        late = [times > limit for times in self._runs]
        return max(self._groups, _inflation(_blocks(late)), _inflation(late))

    def _effective(self, limit: float) -> tuple[float, float]:
        """Late ones and all, as if independent."""
        count = sum(int((times > limit).sum()) for times in self._runs)
        effect = self.effect(limit)
        return count / effect, self._num / effect


def _at(ordered: np.ndarray, level: float) -> float:
    """The smallest value that at least this share does not exceed."""
    rank = math.ceil(level * len(ordered) - 1e-9)
    return float(ordered[min(max(rank, 1), len(ordered)) - 1])


def _blocks(late: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [part for run in late for part in np.array_split(run, _BLOCKS_PER_RUN) if len(part)]


def _inflation(parts: Sequence[np.ndarray]) -> float:
    total = sum(len(part) for part in parts)
    share = sum(int(part.sum()) for part in parts) / total
    if len(parts) < 2 or not 0.0 < share < 1.0:
        return 1.0
    residuals = np.array([float(part.sum()) - share * len(part) for part in parts])
    variance = float(residuals @ residuals) * len(parts) / (len(parts) - 1)
    return variance / (total * share * (1.0 - share))
