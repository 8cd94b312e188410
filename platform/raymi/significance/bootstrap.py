"""An interval for the difference of any statistic, by drawing seeds and rows anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

NUM_RESAMPLES = 500
"""Enough for two digits of a 95% interval."""


def paired_bootstrap(
    statistic: Callable[..., float],
    candidate: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """95% percentile interval of a statistic's difference, candidate - reference, mean over seeds.

    Both sides are drawn alike, so what seeds and rows have in common cancels (two levels, as in
    Agarwal et al., arXiv 2108.13264). Of two or three seeds there are few different draws: the
    interval is then too narrow as far as seeds go.

    Args:
        statistic: Of the rows of one seed; takes as many arrays (N,) as a side has.
        candidate: What the statistic needs, each (S, N), paired with the reference's.
        reference: Alike.
        num_resamples: How often to draw.
        seed: The same interval for the same seed.
    """
    generator = np.random.default_rng(seed)
    num_seeds, num_rows = candidate[0].shape
    differences = np.empty(num_resamples)
    for resample in range(num_resamples):
        rows = generator.integers(num_rows, size=num_rows)
        weights = np.bincount(generator.integers(num_seeds, size=num_seeds), minlength=num_seeds)
        differences[resample] = sum(
            weights[drawn]
            * (
                statistic(*(array[drawn][rows] for array in candidate))
                - statistic(*(array[drawn][rows] for array in reference))
            )
            for drawn in np.flatnonzero(weights)
        )
    low, high = np.quantile(differences / num_seeds, [0.025, 0.975])
    return float(low), float(high)
