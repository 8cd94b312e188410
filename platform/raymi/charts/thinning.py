"""Fewer points for a line that has more than can be seen, without losing its spikes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from raymi.charts.plane import Point


def thin(points: Sequence[Point], *, at_most: int) -> list[Point]:
    """Keep first, lowest, highest and last of each stretch, in their order.

    Gaps (points that are not finite) keep their place.

    Args:
        points: Along the line.
        at_most: How many to keep, about: up to four for each of `at_most // 4` stretches, and
            one more for each stretch that has a gap.
    """
    if len(points) <= at_most:
        return list(points)
    num_stretches = max(1, at_most // 4)
    edges = [index * len(points) // num_stretches for index in range(num_stretches + 1)]
    kept: list[Point] = []
    for begin, end in pairwise(edges):
        stretch = range(begin, end)
        values = {index: points[index][1] for index in stretch}
        finite = [index for index in stretch if math.isfinite(values[index])]
        gaps = [index for index in stretch if not math.isfinite(values[index])]
        chosen = {begin, end - 1, *gaps[:1]}
        if finite:
            chosen |= {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
        kept += [points[index] for index in sorted(chosen)]
    return kept
