"""How long optimizer steps took: percentiles, and a histogram that adds up over workers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raymi.store.record import Record

_RATIO = 1.01
"""Between neighbouring edges of every histogram: its intervals are 1% wide."""
_LEAST_MS = 1e-6


class StepTimes(Record):
    """Durations of optimizer steps, warm-up excluded; all 0 when there were none."""

    num_steps: int
    """Steps that were timed."""

    mean_ms: float
    """Milliseconds: mean,"""

    p50_ms: float
    """median,"""

    p95_ms: float
    """95th percentile,"""

    p99_ms: float
    """99th percentile,"""

    max_ms: float
    """and longest."""

    edges_ms: tuple[float, ...]
    """Powers of 1.01, so that histograms of different workers have the same intervals; one more
    than `counts`, or none."""

    counts: tuple[int, ...]
    """Steps that took at least one edge and less than the next."""


def summarize(durations_s: Sequence[float]) -> StepTimes:
    """Describe the steps of one worker.

    Percentiles between two steps are interpolated linearly.
    """
    milliseconds = np.asarray(durations_s, dtype=np.float64) * 1e3
    if milliseconds.size == 0:
        return StepTimes(
            num_steps=0, mean_ms=0, p50_ms=0, p95_ms=0, p99_ms=0, max_ms=0, edges_ms=(), counts=()
        )
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99]).tolist()
    bins = np.log(np.maximum(milliseconds, _LEAST_MS)) / math.log(_RATIO)
    bins = np.floor(bins).astype(np.int64)
    first = int(bins.min())
    counts = np.bincount(bins - first)
    return StepTimes(
        num_steps=milliseconds.size,
        mean_ms=float(milliseconds.mean()),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=float(milliseconds.max()),
        edges_ms=_edges(first, len(counts)),
        counts=tuple(counts.tolist()),
    )


def combine(workers: Sequence[StepTimes]) -> StepTimes:
    """Describe the steps of all workers.

    Workers wait for each other in every step, so that the slowest speaks for all: each number is
    the largest of any worker. The histogram has the steps of all.
    """
    timed = [times for times in workers if times.num_steps] or [summarize([])]
    firsts = [_bin_of(times.edges_ms[0]) for times in timed if times.edges_ms]
    begin = min(firsts, default=0)
    end = max((f + len(t.counts) for f, t in zip(firsts, timed, strict=False)), default=begin)
    counts = [0] * (end - begin)
    for first, times in zip(firsts, timed, strict=False):
        for index, count in enumerate(times.counts, start=first - begin):
            counts[index] += count
    return StepTimes(
        num_steps=max(times.num_steps for times in timed),
        mean_ms=max(times.mean_ms for times in timed),
        p50_ms=max(times.p50_ms for times in timed),
        p95_ms=max(times.p95_ms for times in timed),
        p99_ms=max(times.p99_ms for times in timed),
        max_ms=max(times.max_ms for times in timed),
        edges_ms=_edges(begin, len(counts)) if counts else (),
        counts=tuple(counts),
    )


def _edges(first: int, num_bins: int) -> tuple[float, ...]:
    return tuple(float(f"{_RATIO**power:.7g}") for power in range(first, first + num_bins + 1))


def _bin_of(edge_ms: float) -> int:
    return round(math.log(edge_ms) / math.log(_RATIO))
