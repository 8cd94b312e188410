"""How sure a measured p99 is, when requests that are close in time are late together.

The interval lies between two measured times in order: how many lie below the true percentile is
binomial, whatever their distribution. That holds for independent requests. These are not: one long
batch delays all that wait behind it. So the number of requests is divided by how much more the
share of late ones varies from block to block, and from run to run, than it would if they were
independent (the design effect; Woodruff, J. Am. Stat. Assoc. 47 (1952) 635).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

_PERCENTILE = 0.99
_BLOCKS_PER_RUN = 20


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
    series = [np.concatenate([np.asarray(times, float), np.full(failed, math.inf)])
              for times, failed in runs]  # fmt: skip
    ordered = np.sort(np.concatenate(series)) if series else np.zeros(0)
    if not len(ordered):
        return None
    value = float(_at(ordered, _PERCENTILE))
    effect = _design_effect(series, value)
    effective = max(1.0, len(ordered) / effect)
    tail = (1.0 - confidence) / 2.0
    low, high = _levels(effective, tail)
    return P99(
        value=value,
        low=float(_at(ordered, low)) if low > 0.0 else 0.0,
        high=float(_at(ordered, high)) if high <= 1.0 else math.inf,
        num_requests=len(ordered),
        design_effect=effect,
    )


def _at(ordered: np.ndarray, level: float) -> float:
    """The smallest value that at least this share does not exceed."""
    rank = math.ceil(level * len(ordered) - 1e-9)
    return float(ordered[min(max(rank, 1), len(ordered)) - 1])


def _levels(num: float, tail: float) -> tuple[float, float]:
    """Shares of values between which the percentile lies; the upper is above 1 for too few."""
    whole = math.floor(num)
    below = bdtr(np.arange(whole + 1, dtype=np.float64), whole, _PERCENTILE)
    low = int(np.searchsorted(below, tail, side="right"))
    high = int(np.searchsorted(below, 1.0 - tail, side="left")) + 1
    return low / whole, high / whole


def _design_effect(series: Sequence[np.ndarray], value: float) -> float:
    """Variance of the share of late requests, over what it were if they were independent."""
    late = [times > value for times in series if len(times)]
    blocks = [part for run in late for part in np.array_split(run, _BLOCKS_PER_RUN) if len(part)]
    return max(1.0, _inflation(blocks), _inflation(late))


def _inflation(parts: Sequence[np.ndarray]) -> float:
    total = sum(len(part) for part in parts)
    share = sum(int(part.sum()) for part in parts) / total
    if len(parts) < 2 or not 0.0 < share < 1.0:
        return 1.0
    residuals = np.array([float(part.sum()) - share * len(part) for part in parts])
    variance = float(residuals @ residuals) * len(parts) / (len(parts) - 1)
    return variance / (total * share * (1.0 - share))
