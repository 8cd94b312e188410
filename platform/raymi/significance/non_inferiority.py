"""Whether a candidate is shown not to be worse by a margin, and whether that could be shown.

The reference that is to be matched is the law of a setting, not one model: seeds are drawn as
well as rows, and pairs share both. The margin is fixed beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from raymi.significance.crossed import CrossedMean, crossed_mean
from raymi.significance.power import (
    Promise,
    needed,
    numbers_variance,
    rows_of_twins,
    shares_variance,
)

MIN_SEEDS = 2
"""One seed says nothing about how much seeds matter."""

_NUM_MISSED = 2
"""Rows as bad as the worst that may just have been missed. On recorded squared errors, damage to
one row in fifty passes 9% of the time without, 4% with them (`tests/recorded`)."""

_LARGEST_RATIO = 1e6
"""Of candidate to reference; where the search for a bound gives up."""

_PRECISION = 1e-9
"""Of a bound, relative."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate against the reference; differences are turned so that more is better."""

    quality_candidate: float
    """Accuracy, rmse or loss, over all seeds and rows together."""

    quality_reference: float
    difference: float
    """Points of accuracy; 1 - candidate / reference for rmse and loss."""

    lower_bound: float
    """One-sided; minus infinity where the ratio could be anything."""

    upper_bound: float
    """One-sided, at the same confidence."""

    p_value: float
    """Of "worse by the margin or more"."""

    margin: float
    confidence: float
    num_rows: int
    num_seeds: int
    rows_needed: int
    """Rows with which a candidate exactly as good would pass often enough, with the seeds there
    are or, if they are too few, with `seeds_needed`."""

    seeds_needed: int | None
    """None: the seeds will do. Otherwise they differ so much that rows cannot make up for it."""

    @property
    def has_power(self) -> bool:
        """Whether one exactly as good would have passed often enough."""
        return self.seeds_needed is None and self.num_rows >= self.rows_needed

    @property
    def is_shown(self) -> bool:
        """Whether it is shown to be not worse by the margin or more."""
        return (
            self.p_value <= 1.0 - self.confidence and self.has_power and self.num_seeds >= MIN_SEEDS
        )

    @property
    def is_worse(self) -> bool:
        """Whether it is shown to be worse by more than the margin."""
        return self.upper_bound < -self.margin and self.num_seeds >= MIN_SEEDS


def compare(  # noqa: PLR0913 - two sets of scores, and what is asked of them
    candidate: np.ndarray,
    reference: np.ndarray,
    *,
    metric: str,
    margin: float,
    confidence: float,
    power: float,
    counts: np.ndarray | None = None,
) -> Comparison:
    """Compare two settings by the scores of their models, paired by seed and row.

    Args:
        candidate: (S, N). Of `accuracy` 1 or 0; of `rmse` squared errors; of `loss` the loss
            summed over a row.
        reference: Alike, for the same seeds and rows.
        metric: `accuracy`, `rmse` or `loss`.
        margin: Above 0. Points of accuracy as a share; for `rmse` and `loss` relative to the
            reference: 0.01 allows 1.01 times as much.
        confidence: One-sided, of the test and of each bound; at least 1/2.
        power: With which one exactly as good shall pass.
        counts: What a row's loss is a sum of, (N,); only for `loss`, and only for its unit.

    Raises:
        ValueError: Shapes differ, there are fewer than two rows, or the metric is unknown.
    """
    candidate = np.asarray(candidate, dtype=np.float64)
    reference = np.asarray(reference, dtype=np.float64)
    if candidate.shape != reference.shape or candidate.ndim != 2:
        raise ValueError(f"scores of shapes {candidate.shape} and {reference.shape}")
    if metric == "accuracy":
        return _compare_shares(candidate, reference, margin, confidence, power)
    if metric == "rmse":
        return _compare_ratios(
            _Costs(candidate, reference, np.square, math.sqrt), margin, confidence, power
        )
    if metric == "loss":
        unit = 1.0 if counts is None else float(np.mean(counts))
        return _compare_ratios(
            _Costs(candidate / unit, reference / unit, float, float), margin, confidence, power
        )
    raise ValueError(f"no test for {metric}")


def fewest_rows(margin: float, *, confidence: float, power: float) -> int:
    """Rows below which nothing can be shown about accuracy, even by models that never disagree.

    About 4.3 / margin at 95% confidence and 80% power: 430 for one point.
    """
    promise = Promise(distance=margin, confidence=confidence, power=power)
    return rows_of_twins(promise, _smallest_variance(margin, MIN_SEEDS))


def _smallest_variance(margin: float, num_seeds: int) -> float:
    """Of a row's mean difference over seeds, if its mean is -margin.

    It is a multiple of 1/S, so least variable if it is 0 or -1/S. Without this floor, models that
    happen to agree on all rows would have no variance, and pass whatever the margin.
    """
    return max(0.0, margin / num_seeds - margin * margin)


def _compare_shares(
    candidate: np.ndarray, reference: np.ndarray, margin: float, confidence: float, power: float
) -> Comparison:
    differences = candidate - reference
    floor = _smallest_variance(margin, len(differences))
    apart = np.abs(differences.mean(axis=0))
    square = float(apart @ apart)
    # What a row usually changes the sum by: 1 where all seeds fail on the same rows, 1/S where
    # each fails on its own. Half of it is the correction for continuity of counts.
    step = float(np.sum(apart**3)) / square if square > 0.0 else 0.0
    mean = crossed_mean(differences, variance_floor=floor, allowance=step / 2.0)
    need = needed(
        mean.spread,
        Promise(distance=margin, confidence=confidence, power=power),
        shares_variance(differences.mean(axis=0), floor),
    )
    return Comparison(
        quality_candidate=float(candidate.mean()),
        quality_reference=float(reference.mean()),
        difference=mean.mean,
        lower_bound=mean.lower_bound(confidence),
        upper_bound=mean.upper_bound(confidence),
        p_value=mean.p_value(-margin),
        margin=margin,
        confidence=confidence,
        num_rows=mean.num_rows,
        num_seeds=mean.num_seeds,
        rows_needed=need.rows,
        seeds_needed=need.seeds,
    )


@dataclass(frozen=True, slots=True)
class _Costs:
    """Scores of which less is better, and the metric as a function of their mean."""

    candidate: np.ndarray
    reference: np.ndarray
    score_ratio: Callable[[float], float]
    """Ratio of metrics -> ratio of mean scores."""

    metric: Callable[[float], float]
    """Mean score -> metric; also ratio of mean scores -> ratio of metrics."""

    def surplus(self, ratio: float) -> np.ndarray:
        """What is left if the candidate may cost this many times the reference, (S, N).

        Its mean is above 0 exactly if the candidate's mean is below that: the test is linear,
        whatever the metric (Fieller, J. R. Stat. Soc. B 16 (1954) 175).
        """
        surplus: np.ndarray = ratio * self.reference - self.candidate
        return surplus

    def shortfall(self, ratio: float) -> CrossedMean:
        """Mean surplus, for statements that it is not too low."""
        surplus = self.surplus(ratio)
        return _mean_with_missed_rows(surplus, max(0.0, -float(surplus.mean(axis=0).min())))

    def excess(self, ratio: float) -> CrossedMean:
        """Mean surplus, for statements that it is not too high."""
        surplus = self.surplus(ratio)
        return _mean_with_missed_rows(surplus, max(0.0, float(surplus.mean(axis=0).max())))


def _mean_with_missed_rows(surplus: np.ndarray, worst: float) -> CrossedMean:
    """Mean of numbers (S, N) as if the sample lacked some of the worst rows.

    Damage to few rows is easily missed when errors have heavy tails: then the mean is too good and
    the variance too small. The sum and the squares are taken as with more of the worst row.
    """
    rows = surplus.mean(axis=0)
    square = float(rows.var(ddof=1)) + _NUM_MISSED * worst * worst / len(rows)
    return crossed_mean(surplus, variance_floor=square, allowance=_NUM_MISSED * worst)


def _compare_ratios(costs: _Costs, margin: float, confidence: float, power: float) -> Comparison:
    allowed = costs.score_ratio(1.0 + margin)
    mean_candidate, mean_reference = float(costs.candidate.mean()), float(costs.reference.mean())
    mean = costs.shortfall(allowed)
    rows = costs.surplus(allowed).mean(axis=0)
    need = needed(
        mean.spread,
        Promise(distance=(allowed - 1.0) * mean_reference, confidence=confidence, power=power),
        numbers_variance(np.append(rows, [min(0.0, float(rows.min()))] * _NUM_MISSED)),
    )
    ratio = _ratio(mean_candidate, mean_reference)
    return Comparison(
        quality_candidate=costs.metric(mean_candidate),
        quality_reference=costs.metric(mean_reference),
        difference=1.0 - costs.metric(ratio),
        lower_bound=1.0 - costs.metric(_largest_ratio(costs, ratio, confidence)),
        upper_bound=1.0 - costs.metric(_smallest_ratio(costs, ratio, confidence)),
        p_value=mean.p_value(),
        margin=margin,
        confidence=confidence,
        num_rows=mean.num_rows,
        num_seeds=mean.num_seeds,
        rows_needed=need.rows,
        seeds_needed=need.seeds,
    )


def _ratio(candidate: float, reference: float) -> float:
    if reference > 0.0:
        return candidate / reference
    return 1.0 if candidate == 0.0 else math.inf


def _largest_ratio(costs: _Costs, ratio: float, confidence: float) -> float:
    """The smallest ratio of mean scores that is shown not to be exceeded."""

    def surplus(limit: float) -> float:
        return costs.shortfall(limit).lower_bound(confidence)

    if not costs.reference.any():
        return math.inf
    low, high = ratio, max(2.0 * ratio, 1.0)
    while surplus(high) < 0.0:
        low, high = high, 4.0 * high
        if high > _LARGEST_RATIO * max(ratio, 1.0):
            return math.inf
    return _root(surplus, low, high)


def _smallest_ratio(costs: _Costs, ratio: float, confidence: float) -> float:
    """The largest ratio of mean scores that is shown to be exceeded; 0: none is."""

    def surplus(limit: float) -> float:
        return costs.excess(limit).upper_bound(confidence)

    if not costs.reference.any() or surplus(0.0) >= 0.0:
        return 0.0
    return _root(surplus, 0.0, ratio)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0, between a value below and one that is not.

    False position with the Illinois rule (Dowell and Jarratt, BIT 11 (1971) 168): these functions
    are almost straight, so it takes a few steps where halving takes dozens.
    """
    below, above = function(low), function(high)
    if below >= 0.0:
        return low
    tolerance, kept = _PRECISION * (above - below), 0
    while high - low > _PRECISION * high:
        middle = (low * above - high * below) / (above - below)
        value = function(middle)
        if abs(value) <= tolerance:
            return middle
        # An end that is kept twice would be kept for ever: weigh it less.
        if value < 0.0:
            above /= 2.0 if kept > 0 else 1.0
            low, below, kept = middle, value, 1
        else:
            below /= 2.0 if kept < 0 else 1.0
            high, above, kept = middle, value, -1
    return high
