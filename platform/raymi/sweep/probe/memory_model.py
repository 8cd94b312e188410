"""Peak memory as a line over the micro-batch: fit, predict, and search for what still fits.

For one network in one precision, weights, gradients and optimizer state are always there, and
activations grow with the micro-batch: peak = fixed + per_sample * micro-batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


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
        """The largest micro-batch predicted to fit; 0 if none does.

        Without growth everything fits: then 2^31 stands for no limit.
        """
        room_gib = limit_gib - self.fixed_gib
        if room_gib < self.per_sample_gib:
            return 0
        if self.per_sample_gib <= 0.0:
            return 1 << 31
        return math.floor(room_gib / self.per_sample_gib + 1e-9)


def fit(points: Sequence[tuple[int, float]]) -> MemoryLine | None:
    """Least squares through (micro-batch, GiB); None with fewer than two sizes."""
    if len({size for size, _ in points}) < 2:
        return None
    sizes = np.array([size for size, _ in points], dtype=np.float64)
    peaks = np.array([peak for _, peak in points], dtype=np.float64)
    design = np.stack([np.ones_like(sizes), sizes], axis=1)
    (fixed, slope), *_ = np.linalg.lstsq(design, peaks, rcond=None)
    slope = max(0.0, float(slope))
    fixed = float(fixed) if slope > 0.0 else float(peaks.mean())
    errors = np.abs(fixed + slope * sizes - peaks) / peaks
    return MemoryLine(fixed, slope, float(errors.max()))


def largest_that_fits(
    sizes: Sequence[int], fits: Callable[[int], bool], *, guess: int | None = None
) -> int | None:
    """The largest of some sizes that fits, by halving; None if not even the smallest does.

    Args:
        sizes: Ascending. If one fits, all smaller ones do.
        fits: Tries one; expensive, so it is asked as seldom as possible.
        guess: Where the limit is expected; tried first, with its neighbour above.
    """
    low, high = -1, len(sizes)
    middle = len(sizes) - 1
    if guess is not None:
        middle = max(0, max((i for i, size in enumerate(sizes) if size <= guess), default=0))
    while high - low > 1:
        if fits(sizes[middle]):
            low = middle
            # A guess that holds is checked right above it before anything is halved.
            middle = middle + 1 if guess is not None and high == len(sizes) else (low + high) // 2
        else:
            high = middle
            middle = (low + high) // 2
        middle = min(max(middle, low + 1), high - 1)
    return sizes[low] if low >= 0 else None
