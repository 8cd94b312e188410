"""What is counted while a version is tried beside another: answers, faults, times, agreement."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from raymi.data.preprocessing import NumberTarget
from raymi.evaluate.predictor import Predictions
from raymi.serve.rollout.comparison import Comparison, Tally
from raymi.serve.rollout.state import VersionRef

_LATELY = 2000
"""Times that are kept: enough for a 99th percentile, few enough to sort every second."""


class Counts:
    """What one version did."""

    def __init__(self) -> None:
        self.requests = 0
        self.faults = 0
        self._times_s: deque[float] = deque(maxlen=_LATELY)

    def answered(self, seconds: float) -> None:
        """Count an answer."""
        self.requests += 1
        self._times_s.append(seconds)

    def failed(self) -> None:
        """Count a fault that was not the request's."""
        self.requests += 1
        self.faults += 1

    def tally(self) -> Tally:
        """The counts so far."""
        times_ms = np.array(self._times_s) * 1000.0
        p50, p99 = np.percentile(times_ms, [50, 99]) if len(times_ms) else (None, None)
        return Tally(requests=self.requests, faults=self.faults, p50_ms=p50, p99_ms=p99)


class Trial:
    """One version that is tried, and the one that it would replace, or has just replaced."""

    def __init__(self, trial: VersionRef, baseline: VersionRef, *, tolerance: float) -> None:
        """Start counting.

        Args:
            trial: The version on trial.
            baseline: The other.
            tolerance: Standard deviations of the target by which numbers may differ and agree.
        """
        self.trial = trial
        self.baseline = baseline
        self.of_trial, self.of_baseline = Counts(), Counts()
        self._tolerance = tolerance
        self._compared_rows = 0
        self._agreeing_rows = 0
        self._began_s = time.monotonic()

    @property
    def age_s(self) -> float:
        """For how long it has been counted."""
        return time.monotonic() - self._began_s

    def compare(self, one: Predictions, other: Predictions) -> None:
        """Count the rows for which two predictions of the same rows agree."""
        self._compared_rows += one.num_rows
        self._agreeing_rows += agreeing_rows(one, other, tolerance=self._tolerance)

    def comparison(self) -> Comparison:
        """What was counted so far."""
        return Comparison(
            trial=self.trial.described,
            baseline=self.baseline.described,
            of_trial=self.of_trial.tally(),
            of_baseline=self.of_baseline.tally(),
            compared_rows=self._compared_rows,
            agreeing_rows=self._agreeing_rows,
        )


def agreeing_rows(one: Predictions, other: Predictions, *, tolerance: float) -> int:
    """How many rows get the same label, or numbers within a share of the target's spread."""
    if isinstance(one.target, NumberTarget):
        if not isinstance(other.target, NumberTarget):
            return 0
        near = np.abs(one.values - other.values) <= tolerance * one.target.std
        return int(near.sum())
    if isinstance(other.target, NumberTarget):
        return 0
    return sum(a == b for a, b in zip(one.labels, other.labels, strict=True))
