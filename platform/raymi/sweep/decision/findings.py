"""What a way to compute changes besides the average: calibration, and the worst group of rows.

Every number here is a mean over seeds and rows, or is as smooth as one near what was measured, so
its interval comes from how much each row moves it: seeds and rows both count as drawn. A bootstrap
of two or three seeds would find something in two comparisons of equals out of ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raymi.evaluate.metrics import NUM_CALIBRATION_BINS
from raymi.significance.crossed import CrossedMean, crossed_mean
from raymi.significance.non_inferiority import MIN_SEEDS
from raymi.sweep.decision.case import Case
from raymi.sweep.decision.pairs import Pairs, pair_up
from raymi.sweep.evidence import Purpose, RowScores
from raymi.sweep.verdicts import Finding

MIN_SLICE_ROWS = 30
"""A smaller group of rows is not looked at: it says little, and always differs."""

_LEVEL = 0.05
"""Chance that a finding is called notable while there is nothing."""

_EDGES = np.linspace(0.0, 1.0, NUM_CALIBRATION_BINS + 1)[1:-1]


def list_findings(case: Case) -> tuple[Finding, ...]:
    """What every way to compute that was compared changes on the validation rows."""
    found: list[Finding] = []
    for name in case.numerics:
        if name == case.reference.numerics:
            continue
        pairs = pair_up(case, name, case.reference.numerics, Purpose.QUALITY)
        if pairs is not None and len(pairs.seeds) >= MIN_SEEDS:
            found += _findings(case, name, pairs)
    return tuple(found)


def _findings(case: Case, numerics: str, pairs: Pairs) -> list[Finding]:
    found = []
    sides = [_calibration(pairs.candidate), _calibration(pairs.reference)]
    if sides[0] is not None and sides[1] is not None:
        for what in ("ece", "brier"):
            ours, theirs = sides[0][what], sides[1][what]
            found.append(_difference(numerics, what, ours, theirs))
    worst = _worst_slice(case, numerics, pairs)
    return found if worst is None else [*found, worst]


@dataclass(frozen=True)
class _Statistic:
    """A number, and what each row contributes to it."""

    value: float
    parts: np.ndarray
    """(S, N), of mean `value`."""


def _calibration(scores: Sequence[RowScores]) -> dict[str, _Statistic] | None:
    """Calibration error and Brier score; None if a run has no confidences."""
    confidence = [one.confidence for one in scores if one.confidence is not None]
    brier = np.array([one.brier for one in scores if one.brier is not None])
    if not len(confidence) == len(brier) == len(scores):
        return None
    surplus = np.array(confidence) - [one.score for one in scores]
    bins = np.digitize(confidence, _EDGES, right=True)
    parts = np.array([_ece_parts(surplus[seed], bins[seed]) for seed in range(len(scores))])
    return {
        "ece": _Statistic(float(parts.mean()), parts),
        "brier": _Statistic(float(brier.mean()), brier),
    }


def _ece_parts(surplus: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """What each row adds to the distance of its bin, (N,): their mean is the error."""
    of_bin = np.bincount(bins, weights=surplus, minlength=NUM_CALIBRATION_BINS)
    parts: np.ndarray = np.sign(of_bin)[bins] * surplus
    return parts


def _difference(numerics: str, what: str, ours: _Statistic, theirs: _Statistic) -> Finding:
    mean = crossed_mean(ours.parts - theirs.parts)
    low, high = _interval(mean, _LEVEL)
    return Finding(
        numerics=numerics,
        what=what,
        reference=theirs.value,
        candidate=ours.value,
        difference=mean.mean,
        low=low,
        high=high,
        is_notable=low > 0.0 or high < 0.0,
    )


def _worst_slice(case: Case, numerics: str, pairs: Pairs) -> Finding | None:
    """The group of rows that most surely fares worse than the average row."""
    group = np.array(case.evidence.slices.validation)
    if len(group) != pairs.num_rows:
        return None
    sizes = np.bincount(group, minlength=len(case.evidence.slices.names))
    large = [int(index) for index in np.flatnonzero(sizes >= MIN_SLICE_ROWS)]
    if len(large) < 2:
        return None
    everywhere = _change(case.evidence.metric, pairs, np.ones(len(group), dtype=bool))
    slices = {}
    for index in large:
        own = _change(case.evidence.metric, pairs, group == index)
        slices[index] = own, crossed_mean(own.statistic.parts - everywhere.statistic.parts)
    worst = min(large, key=lambda index: _surely_worse(slices[index][1]))
    own, surplus = slices[worst]
    low, high = _interval(surplus, _LEVEL / len(large))
    average = everywhere.statistic.value
    return Finding(
        numerics=numerics,
        what=f"worst slice: {case.evidence.slices.names[worst]}",
        reference=own.reference,
        candidate=own.candidate,
        difference=own.statistic.value,
        low=average + low,
        high=average + high,
        is_notable=high < 0.0,
    )


@dataclass(frozen=True)
class _Change:
    """How the metric of some rows changes."""

    candidate: float
    reference: float
    statistic: _Statistic
    """Turned so that more is better: points of accuracy, a share of rmse or loss."""


def _change(metric: str, pairs: Pairs, chosen: np.ndarray) -> _Change:
    """The change over some rows.

    Args:
        metric: accuracy, rmse or loss.
        pairs: Runs.
        chosen: Rows, (N,) of bool.
    """
    candidate = np.array([scores.score for scores in pairs.candidate])
    reference = np.array([scores.score for scores in pairs.reference])
    ours, theirs = candidate[:, chosen].mean(), reference[:, chosen].mean()
    weights = chosen / chosen.mean()
    if metric == "accuracy":
        value = ours - theirs
        parts = value + weights * (candidate - reference - value)
        return _Change(float(ours), float(theirs), _Statistic(float(value), parts))
    # Of a ratio, what a row contributes is its distance from the line through all of them.
    ratio = ours / theirs if theirs > 0.0 else 1.0
    distances = weights * (candidate - ratio * reference) / (theirs or 1.0)
    if metric == "rmse":
        root = float(np.sqrt(ratio))
        parts = 1.0 - root - distances / (2.0 * (root or 1.0))
        return _Change(float(np.sqrt(ours)), float(np.sqrt(theirs)), _Statistic(1.0 - root, parts))
    unit = 1.0 if pairs.counts is None else float(pairs.counts[chosen].mean())
    value = 1.0 - float(ratio)
    return _Change(float(ours / unit), float(theirs / unit), _Statistic(value, value - distances))


def _surely_worse(surplus: CrossedMean) -> tuple[float, float]:
    """Most negative where a group most surely fares worse than the average."""
    error = surplus.standard_error
    return (surplus.mean / error if error > 0.0 else 0.0, surplus.mean)


def _interval(mean: CrossedMean, level: float) -> tuple[float, float]:
    return mean.lower_bound(1.0 - level / 2.0), mean.upper_bound(1.0 - level / 2.0)
