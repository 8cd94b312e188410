"""Batch sizes worth trying when the winner is served."""

from __future__ import annotations

from raymi.sweep.decision.case import Case
from raymi.sweep.setting import Setting

_NEAR_BEST = 0.8
"""Share of the best throughput that is still worth a lower latency."""


def serving_batch_sizes(case: Case, winner: Setting) -> tuple[int, ...]:
    """One row, and the sizes on the knee: near the best throughput, none that is only slower.

    Smallest first; empty if no latency was measured.
    """
    latency_ms: dict[int, float] = {}
    for one in case.latencies_of(winner):
        best_so_far = latency_ms.get(one.num_rows, one.latency_ms)
        latency_ms[one.num_rows] = min(best_so_far, one.latency_ms)
    if not latency_ms:
        return ()
    rates = {rows: rows / latency_ms[rows] for rows in sorted(latency_ms)}
    best = max(rates, key=rates.__getitem__)
    near = {rows for rows in rates if rows <= best and rates[rows] >= _NEAR_BEST * rates[best]}
    return tuple(sorted({1, *near}))
