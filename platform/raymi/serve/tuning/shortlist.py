"""Who is put under load next: the cheapest that could do it, the most promising of each way first.

Pure: it only looks at what was measured so far.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import median

from raymi.serve.tuning.evidence import Evidence, Forecast
from raymi.serve.tuning.gate import GateVerdict
from raymi.serve.tuning.percentile import P99, p99_interval
from raymi.serve.tuning.queueing import Server, pass_times
from raymi.specs.tune_serving import TuneServingSpec

_ALIKE = 1.1
"""Forecasts whose ratio is below say nothing about who is faster behind an endpoint."""


def why_not(
    evidence: Evidence,
    spec: TuneServingSpec,
    index: int,
    gates: Mapping[int, GateVerdict],
    forecasts: Mapping[int, Forecast],
) -> tuple[str, str] | None:
    """Status and reason of a candidate that is not worth deploying; None: it could do it."""
    candidate = evidence.candidates[index]
    way = candidate.way
    if (refusal := evidence.refused.get(way) or evidence.broken.get(way)) is not None:
        return "cannot_run", refusal
    free = evidence.free_cpus
    if free is not None and candidate.num_cpus > free:
        return "too_large", f"it needs {candidate.num_cpus:g} CPUs, {free:g} are free"
    if (lacking := _lacks_accelerators(evidence, candidate.num_replicas)) is not None:
        return "too_large", lacking
    if (forecast := forecasts.get(index)) is None:
        return "not_deployed", "its forward passes were not timed"
    wanted = spec.objective.rate_per_s * spec.objective.rows_per_request
    if forecast.p99_ms is None or forecast.rows_per_s <= wanted:
        return "too_slow", (
            f"its forward passes carry {forecast.rows_per_s:,.0f} rows/s at most, "
            f"{wanted:,.0f} arrive"
        )
    if forecast.p99_ms > spec.objective.p99_ms:
        return "too_slow", f"p99 is {forecast.p99_ms:.1f} ms for forward passes alone"
    if (gate := gates.get(way)) is None:
        return "not_good_enough", "its answers were not compared"
    return None if gate.has_passed else ("not_good_enough", gate.why)


def _lacks_accelerators(evidence: Evidence, num_replicas: int) -> str | None:
    wanted, free = num_replicas * evidence.accelerators_per_replica, evidence.free_accelerators
    if free is None or wanted <= free:
        return None
    return f"it needs {wanted:g} accelerators, {free:g} are free"


def order(evidence: Evidence, able: Collection[int]) -> list[int]:
    """Candidates in the order in which they are worth measuring.

    The cheapest first. Among those of one price every way to compute gets its best configuration
    measured before any gets its second; the reference's stands first, for comparison.
    """
    forecasts = {one.candidate: one for one in evidence.forecasts}
    found: list[int] = []
    for cpus in sorted({evidence.candidates[index].num_cpus for index in able}):
        ways: dict[int, list[int]] = {}
        for index in able:
            if evidence.candidates[index].num_cpus == cpus:
                ways.setdefault(evidence.candidates[index].way, []).append(index)
        ranked = [
            (rank, way != 0, _p99_ms(forecasts[index]), index)
            for way, own in ways.items()
            for rank, index in enumerate(_best_first(evidence, own, forecasts))
        ]
        found += [index for *_, index in sorted(ranked)]
    return found


def next_round(evidence: Evidence, spec: TuneServingSpec, queue: Sequence[int]) -> list[int]:
    """Candidates that are to be measured next, once each; none: that was it.

    Every price has its heat, the cheapest first. All in a heat are measured once; those that are
    not shown to miss the objective are measured as often as was asked. The next heat is run only
    if nobody in this one meets it.

    Args:
        evidence: With what was measured so far.
        spec: What was asked.
        queue: As `order` gives it.
    """
    prices = [evidence.candidates[index].num_cpus for index in queue]
    for price in sorted(set(prices)):
        heat = [index for index, own in zip(queue, prices, strict=True) if own == price]
        heat = heat[: spec.measurement.finalists]
        counts = {index: sum(run.candidate == index for run in evidence.runs) for index in heat}
        able = [index for index in heat if index not in evidence.undeployed]
        if fresh := [index for index in able if not counts[index]]:
            return fresh
        found = {index: measured_p99(evidence, spec, index) for index in able}
        goal = spec.objective.p99_ms
        hopeful = [index for index, p99 in found.items() if p99 is not None and p99.low <= goal]
        if again := [index for index in hopeful if counts[index] < spec.measurement.repeats]:
            return again
        if any(p99 is not None and p99.high <= goal for p99 in found.values()):
            return []
    return []


def measured_p99(evidence: Evidence, spec: TuneServingSpec, index: int) -> P99 | None:
    """Of all loads of a candidate together; None without any."""
    return p99_interval(
        [(run.latencies_ms, run.num_failed) for run in evidence.runs if run.candidate == index],
        confidence=spec.measurement.confidence,
    )


def _best_first(evidence: Evidence, own: list[int], forecasts: Mapping[int, Forecast]) -> list[int]:
    """One way's configurations. Where forecasts are alike, the one that can carry most leads: it
    has most in hand for what the forecast leaves out."""
    best_ms = min(_p99_ms(forecasts[index]) for index in own)

    def key(index: int) -> tuple[bool, float, float, float]:
        forecast, candidate = forecasts[index], evidence.candidates[index]
        is_behind = _p99_ms(forecast) > _ALIKE * best_ms
        return (
            is_behind,
            _p99_ms(forecast) if is_behind else -round(forecast.rows_per_s, 3),
            candidate.max_wait_ms,
            candidate.max_batch_size,
        )

    return sorted(own, key=key)


def _p99_ms(forecast: Forecast) -> float:
    return float("inf") if forecast.p99_ms is None else forecast.p99_ms


def server_of(evidence: Evidence, spec: TuneServingSpec, index: int) -> Server | None:
    """What a candidate's forecast is made with; None: its passes were not timed."""
    candidate = evidence.candidates[index]
    medians = median_passes(evidence, candidate.way)
    if not medians:
        return None
    return Server(
        pass_s=pass_times(medians),
        max_batch_size=candidate.max_batch_size,
        max_wait_s=candidate.max_wait_ms / 1000.0,
        num_replicas=candidate.num_replicas,
        rows_per_request=spec.objective.rows_per_request,
    )


def median_passes(evidence: Evidence, way: int) -> dict[int, float]:
    """Rows -> median seconds of a pass over the rounds."""
    found: dict[int, list[float]] = {}
    for one in evidence.passes:
        if one.way == way:
            found.setdefault(one.num_rows, []).append(one.pass_s)
    return {num_rows: median(times) for num_rows, times in sorted(found.items())}
