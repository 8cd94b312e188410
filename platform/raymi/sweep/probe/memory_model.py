"""Peak memory as a line over the micro-batch: fit, predict, and search for what still fits.

For one network in one precision, weights, gradients and optimizer state are always there, and
activations grow with the micro-batch: peak = fixed + per_sample * micro-batch.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_ENDLESS = 1 << 31
"""Stands for a micro-batch without limit."""


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """A fitted line, in GiB."""

    fixed_gib: float
    per_sample_gib: float
    max_error: float
    """Largest relative distance of a measured point from the line."""

    def peak_gib(self, micro_batch_size: int) -> float:
        """Predicted peak."""
        return self.fixed_gib + self.per_sample_gib * micro_batch_size

    def largest_micro_batch(self, limit_gib: float) -> int:
        """The largest micro-batch predicted to fit; 0 if none does, 2^31 if all do."""
        room_gib = limit_gib - self.fixed_gib
        if room_gib < self.per_sample_gib:
            return 0
        if self.per_sample_gib <= 0.0:
            return _ENDLESS
        # A whole number of samples must not be lost to the last bit.
        return min(_ENDLESS, math.floor(room_gib / self.per_sample_gib * (1.0 + 1e-12)))


def fit(points: Sequence[tuple[int, float]]) -> MemoryLine | None:
    """Least squares of the relative error through (micro-batch, GiB).

    None with fewer than two sizes. A line that would fall is taken as flat: more samples never
    take less, so that it is noise.
    """
    if len({size for size, _ in points}) < 2:
        return None
    sizes = np.array([size for size, _ in points], dtype=np.float64)
    peaks = np.array([peak for _, peak in points], dtype=np.float64)
    design = np.stack([1.0 / peaks, sizes / peaks], axis=1)
    (fixed, slope), *_ = np.linalg.lstsq(design, np.ones_like(peaks), rcond=None)
    if slope <= 0.0:
        fixed, slope = peaks.mean(), 0.0
    errors = np.abs(fixed + slope * sizes - peaks) / peaks
    return MemoryLine(float(fixed), float(slope), float(errors.max()))


def largest_that_fits(
    sizes: Sequence[int], fits: Callable[[int], bool], *, guess: int | None = None
) -> int | None:
    """The largest of some sizes that fits, by halving; None if not even the smallest does.

    Args:
        sizes: Ascending. If one fits, all smaller ones do.
        fits: Tries one; expensive, so it is asked as seldom as possible.
        guess: The largest that is expected to fit: it is tried first, then the one above it, so
            that a right guess takes two tries.
    """
    low, high = -1, len(sizes)
    """The largest place known to fit, and the smallest known not to."""
    tries = []
    if guess is not None:
        place = bisect_right(sizes, guess) - 1
        tries = [place + 1, place]
    while high - low > 1:
        middle = tries.pop() if tries else (low + high) // 2
        if not low < middle < high:
            continue
        if fits(sizes[middle]):
            low = middle
        else:
            high = middle
    return sizes[low] if low >= 0 else None
