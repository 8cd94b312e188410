"""The mean over seeds and evaluation rows, both drawn at random, and how sure it is.

Every seed is scored on the same rows, so the two are crossed: a value is a mean, plus what its
seed adds, plus what its row adds, plus the rest. Analysis of variance tells the three apart.

The usual test adds their estimates and takes Satterthwaite's degrees of freedom. With three seeds
it errs more often than it says (6% at 5%, with two 8%), because a seed variance that comes out
small by chance brings both a small error and a large number of degrees. Here every part is
multiplied by its own quantile of Student's t before they are added, as in the modified
large-sample intervals of Graybill and Wang (J. Am. Stat. Assoc. 75 (1980) 869); the part that
seeds and rows share is counted with the seeds. That keeps the level for every ratio of the parts
and is about as wide; `tests/unit/significance/test_crossed_mean.py` computes both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

_MAX_DEVIATE = 26.0
"""Of the normal distribution; a p-value beyond (1e-149) is 0. Student's t with one degree of
freedom would be too large to square."""

_NUM_HALVINGS = 60
"""To find a p-value; a deviate is then exact to 16 digits."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What the variance of a mean over seeds and rows is made of; all parts in its unit squared."""

    num_seeds: int
    num_rows: int
    seed_part: float
    """Variance of a seed's mean / seeds; includes `shared_part`."""

    row_part: float
    """Variance of a row's mean / rows; includes `shared_part`."""

    shared_part: float
    """Variance of what neither seed nor row explains / (seeds x rows)."""

    skew: float = 0.0
    """By how much `row_part` changes with the mean: third moment / variance / rows."""

    allowance: float = 0.0
    """What the mean may be off by besides, in either direction."""

    @property
    def standard_error(self) -> float:
        """Of the mean; never below what seeds or rows alone make it."""
        return math.sqrt(max(self.row_part, self.seed_part + self._only_rows))

    def reach_below(self, tail: float) -> float:
        """How far below the mean a value is that could just be the true one.

        Args:
            tail: Chance of being wrong, in (0, 1/2].
        """
        return self._reach(tail, max(0.0, -self.skew))

    def reach_above(self, tail: float) -> float:
        """How far above the mean a value is that could just be the true one."""
        return self._reach(tail, max(0.0, self.skew))

    @property
    def _only_rows(self) -> float:
        return max(0.0, self.row_part - self.shared_part)

    def _reach(self, tail: float, slope: float) -> float:
        # A row that costs much and is rare is often missed; then the mean is too high and the
        # variance too small at once. So the variance is taken as it would be if the true mean
        # were the one that is tested: at a distance u from the mean, slope * u larger. The reach
        # is where u^2 = t^2 * (variance + slope * u).
        row_square = float(stdtrit(self.num_rows - 1, tail)) ** 2
        square = row_square * self.row_part
        if self.num_seeds > 1:
            seed_square = float(stdtrit(self.num_seeds - 1, tail)) ** 2
            square = max(square, seed_square * self.seed_part + row_square * self._only_rows)
        shift = row_square * slope
        return (shift + math.sqrt(shift * shift + 4.0 * square)) / 2.0 + self.allowance


@dataclass(frozen=True, slots=True)
class CrossedMean:
    """A mean over seeds and rows, and what can be said about the true one.

    With one seed, seeds cannot be judged: all statements are about that seed only.
    """

    mean: float
    spread: Spread

    @property
    def standard_error(self) -> float:
        """Of the mean."""
        return self.spread.standard_error

    @property
    def num_seeds(self) -> int:
        """Seeds it is a mean over."""
        return self.spread.num_seeds

    @property
    def num_rows(self) -> int:
        """Rows it is a mean over."""
        return self.spread.num_rows

    def lower_bound(self, confidence: float) -> float:
        """The true mean is above, at this one-sided confidence in [1/2, 1)."""
        return self.mean - self.spread.reach_below(1.0 - confidence)

    def upper_bound(self, confidence: float) -> float:
        """The true mean is below, at this one-sided confidence in [1/2, 1)."""
        return self.mean + self.spread.reach_above(1.0 - confidence)

    def p_value(self, null: float = 0.0) -> float:
        """Of "the true mean is at most `null`", one-sided."""
        distance = self.mean - null
        if distance < 0.0:
            return 1.0 - self._tail(-distance, self.spread.reach_above)
        return self._tail(distance, self.spread.reach_below)

    def two_sided_p(self, null: float = 0.0) -> float:
        """Of "the true mean is `null`"."""
        one_sided = self.p_value(null)
        return min(1.0, 2.0 * min(one_sided, 1.0 - one_sided))

    @staticmethod
    def _tail(distance: float, reach: Callable[[float], float]) -> float:
        """Chance of being wrong at which the reach is this distance."""
        if distance == 0.0:
            return 0.5
        low, high = 0.0, _MAX_DEVIATE
        if reach(float(ndtr(-high))) < distance:
            return 0.0
        for _ in range(_NUM_HALVINGS):
            middle = (low + high) / 2.0
            if reach(float(ndtr(-middle))) < distance:
                low = middle
            else:
                high = middle
        return float(ndtr(-high))


def crossed_mean(
    values: np.ndarray, *, variance_floor: float = 0.0, allowance: float = 0.0
) -> CrossedMean:
    """Mean of paired differences over seeds and rows, both random and crossed.

    Args:
        values: One per seed and row, (S, N).
        variance_floor: The variance of a row's mean over seeds is taken to be at least this.
        allowance: What the sum over rows may be off by besides.

    Raises:
        ValueError: There is no seed, or there are fewer than two rows.
    """
    num_seeds, num_rows = values.shape
    if not num_seeds or num_rows < 2:
        raise ValueError(f"a crossed mean of {num_seeds} seeds and {num_rows} rows")
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    rows = values.mean(axis=0) - mean
    row_variance = float(rows @ rows) / (num_rows - 1)
    third_moment = float(np.mean(rows * rows * rows))
    seed_part = shared_part = 0.0
    if num_seeds > 1:
        seeds = values.mean(axis=1) - mean
        rest = values - mean - seeds[:, None] - rows
        freedom = (num_seeds - 1) * (num_rows - 1)
        shared_part = float(np.vdot(rest, rest)) / freedom / (num_seeds * num_rows)
        seed_part = float(seeds @ seeds) / (num_seeds - 1) / num_seeds
    return CrossedMean(
        mean=mean,
        spread=Spread(
            num_seeds=num_seeds,
            num_rows=num_rows,
            seed_part=seed_part,
            row_part=max(row_variance, variance_floor) / num_rows,
            shared_part=shared_part,
            skew=third_moment / row_variance / num_rows if row_variance > 0.0 else 0.0,
            allowance=allowance / num_rows,
        ),
    )
