"""How much faster one thing is than another, from paired measurements, with an interval.

Both sides of a pair were measured within seconds of each other, so that what the machine
did meanwhile hits both. The median ignores the pairs that it hit unevenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

NUM_RESAMPLES = 10_000
_CONFIDENCE = 0.95
_SEED = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """A median and the 95% interval around it."""

    median: float
    low: float
    high: float

    @property
    def distance_from_one(self) -> float:
        """How far the interval reaches from 1, on the side where it reaches further."""
        return max(abs(self.low - 1.0), abs(self.high - 1.0))

    def to_document(self) -> dict[str, float]:
        """For JSON."""
        return {"median": self.median, "low": self.low, "high": self.high}


def paired_ratios(ours: Sequence[float], theirs: Sequence[float]) -> np.ndarray:
    """Ratio of each pair, (N,)."""
    ratios: np.ndarray = np.asarray(ours, dtype=np.float64) / np.asarray(theirs, dtype=np.float64)
    return ratios


def median_interval(values: Sequence[float] | np.ndarray, *, seed: int = _SEED) -> Interval:
    """Median of independent values, with its percentile bootstrap interval.

    Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979).

    Raises:
        ValueError: There are no values.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not len(sample):
        raise ValueError("the median of nothing")
    generator = np.random.default_rng(seed)
    resamples = sample[generator.integers(0, len(sample), (NUM_RESAMPLES, len(sample)))]
    tail = (1.0 - _CONFIDENCE) / 2.0
    low, high = np.quantile(np.median(resamples, axis=1), (tail, 1.0 - tail))
    return Interval(float(np.median(sample)), float(low), float(high))


def ratio_interval(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Median of the paired ratios ours / theirs, with its interval."""
    return median_interval(paired_ratios(ours, theirs))


def order_interval(
    values: Sequence[float] | np.ndarray, *, confidence: float = _CONFIDENCE
) -> Interval:
    """Median of independent values, with the interval between two of them in order.

    How many values lie below the true median is binomial(N, 1/2), whatever their distribution,
    so the interval holds the median at least as often as it says (Thompson, Annals of
    Mathematical Statistics 7 (1936) 122). Of few values it is wide, where a bootstrap is too
    narrow.

    Raises:
        ValueError: There are too few values: even the smallest and the largest do not hold the
            median that often. At 95% six are enough.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    num_values = len(ordered)
    # Chance that at most `rank` values lie below the median, for each rank.
    tails = bdtr(np.arange(num_values // 2, dtype=np.float64), num_values, 0.5)
    rank = int(np.searchsorted(tails, (1.0 - confidence) / 2.0, side="right")) - 1
    if rank < 0:
        raise ValueError(f"{num_values} values are too few for an interval at {confidence:.0%}")
    low, high = ordered[rank], ordered[num_values - 1 - rank]
    return Interval(float(np.median(ordered)), float(low), float(high))
