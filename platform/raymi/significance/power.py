"""How many rows and seeds a comparison needs before its answer means anything.

A test that cannot fail says nothing. So before "not worse" counts, one that is exactly as good
must have a good chance to pass, judged by how much the rows could vary, not by how much they
happened to: two models that agree on 200 rows may still differ on one in a hundred.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.special import betaincinv, chdtri, ndtri

from raymi.significance.crossed import Spread

_VARIANCE_CONFIDENCE = 0.95
"""Of the upper bounds of variances."""

_MOST_ROWS = 2**40
_MOST_SEEDS = 10_000
"""Where the search ends; nobody has as many."""


@dataclass(frozen=True, slots=True)
class Need:
    """What it takes to pass often enough if exactly as good."""

    rows: int
    """With the seeds there are, or with `seeds` of them."""

    seeds: int | None
    """None: the seeds there are will do; otherwise no number of rows makes up for the lack."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a test is to deliver."""

    distance: float
    """Between "exactly as good" and "worse by the margin", in the unit of the mean; above 0."""

    confidence: float
    power: float

    def holds(self, spread: Spread) -> bool:
        """Whether a mean that spreads like this keeps it."""
        deviate = float(ndtri(self.power))
        reach = spread.reach_below(1.0 - self.confidence)
        return reach + deviate * spread.standard_error <= self.distance


RowVariance = Callable[[int], float]
"""Number of rows -> upper bound of the variance of a row's mean, had so many been seen."""


def needed(spread: Spread, promise: Promise, row_variance: RowVariance) -> Need:
    """What it would take, if more rows and seeds are like those that were seen.

    Args:
        spread: Of the mean of what was seen.
        promise: What the test is to deliver.
        row_variance: Upper bound, falling as rows are added.
    """

    def is_enough(num_seeds: int, num_rows: int) -> bool:
        return promise.holds(_enlarged(spread, num_seeds, num_rows, row_variance))

    num_seeds, num_rows = spread.num_seeds, spread.num_rows
    if is_enough(num_seeds, num_rows):
        return Need(_first(partial(is_enough, num_seeds), 2, num_rows), None)
    num_seeds = _first(partial(_leave_half, spread, promise), num_seeds, _MOST_SEEDS)
    rows = _first(partial(is_enough, num_seeds), 2, _MOST_ROWS)
    return Need(rows, None if num_seeds == spread.num_seeds else num_seeds)


def shares_variance(means: np.ndarray, floor: float = 0.0) -> RowVariance:
    """Upper bound of the variance of numbers (N,) in [-1, 1] that are mostly 0.

    That of Clopper and Pearson (Biometrika 26 (1934) 404) for their mean square, which is a share
    of rows if they are -1, 0 and 1. It is above 0 also if all are 0.
    """
    share = float(np.mean(np.square(means)))

    def bound(num_rows: int) -> float:
        num_apart = share * num_rows
        if num_apart >= num_rows:
            return 1.0
        upper = betaincinv(num_apart + 1.0, num_rows - num_apart, _VARIANCE_CONFIDENCE)
        return max(float(upper), floor)

    return bound


def numbers_variance(means: np.ndarray) -> RowVariance:
    """Upper bound of the variance of any numbers (N,).

    By the chi-square distribution that has the variance of a sample variance; heavy tails leave
    it few degrees of freedom (O'Neill, The American Statistician 68 (2014) 282). What never
    happened in the sample is not foreseen.
    """
    deviations = means - means.mean()
    square = float(np.mean(np.square(deviations)))
    kurtosis = float(np.mean(deviations**4)) / square**2 if square > 0.0 else 1.0

    def bound(num_rows: int) -> float:
        excess = kurtosis - (num_rows - 3) / (num_rows - 1)
        freedom = 2.0 * num_rows / max(excess, 2.0 / num_rows)
        return square * freedom / float(chdtri(freedom, _VARIANCE_CONFIDENCE))

    return bound


def rows_of_twins(promise: Promise, floor: float) -> int:
    """Fewest rows with which two models that never disagree pass, were rows all there is.

    Args:
        promise: What the test is to deliver.
        floor: Smallest variance of a row's mean.
    """
    twins = Spread(num_seeds=1, num_rows=2, seed_part=0.0, row_part=0.0, shared_part=0.0)
    row_variance = shares_variance(np.zeros(1), floor)

    def is_enough(num_rows: int) -> bool:
        return promise.holds(_enlarged(twins, 1, num_rows, row_variance))

    return _first(is_enough, 2, _MOST_ROWS)


def _enlarged(spread: Spread, num_seeds: int, num_rows: int, row_variance: RowVariance) -> Spread:
    """The same with another number of seeds and rows, and rows that vary as much as they may."""
    more_seeds, more_rows = num_seeds / spread.num_seeds, num_rows / spread.num_rows
    shared = spread.shared_part / more_seeds / more_rows
    only_seeds = max(0.0, spread.seed_part - spread.shared_part) / more_seeds
    rest = min(spread.seed_part, spread.shared_part) / more_seeds / more_rows
    return replace(
        spread,
        num_seeds=num_seeds,
        num_rows=num_rows,
        seed_part=only_seeds + rest,
        row_part=row_variance(num_rows) / num_rows,
        shared_part=shared,
        skew=spread.skew / more_rows,
        allowance=spread.allowance / more_rows,
    )


def _leave_half(spread: Spread, promise: Promise, num_seeds: int) -> bool:
    """Whether so many seeds alone would use up half of what the mean may vary, or less."""
    only_seeds = max(0.0, spread.seed_part - spread.shared_part) * spread.num_seeds / num_seeds
    return promise.holds(
        Spread(
            num_seeds=num_seeds,
            num_rows=spread.num_rows,
            seed_part=2.0 * only_seeds,
            row_part=0.0,
            shared_part=0.0,
        )
    )


def _first(is_enough: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number in [low, high] that is enough, or else `high`; more is never worse."""
    while low < high:
        middle = min(math.isqrt(low * high), (low + high) // 2)
        if is_enough(middle):
            high = middle
        else:
            low = middle + 1
    return low
