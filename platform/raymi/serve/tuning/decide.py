"""From evidence to a decision: pure, so that a receipt can be checked.

Among those that meet the objective with confidence and pass the gate, the cheapest wins; among
equally cheap ones whose p99 cannot be told apart from the best, the simplest and safest; then the
one with the lowest p99.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from raymi.serve.tuning.evidence import Evidence, Forecast, LoadRun
from raymi.serve.tuning.gate import GateVerdict, judge
from raymi.serve.tuning.percentile import P99
from raymi.serve.tuning.shortlist import measured_p99, why_not
from raymi.serve.tuning.verdicts import Standing, Status, TuningDecision
from raymi.serve.tuning.words import nobody_wins, winner_sentence
from raymi.specs.tune_serving import TuneServingSpec

_MEASURED = (Status.MET, Status.UNSURE, Status.MISSED)


def decide(evidence: Evidence) -> TuningDecision:
    """Where everybody stands, and who wins."""
    spec = TuneServingSpec.from_document(evidence.spec)
    gates = judge(evidence, spec.gate)
    by_way = {gate.way: gate for gate in gates}
    forecasts = {one.candidate: one for one in evidence.forecasts}
    standings = [
        _standing(evidence, spec, index, by_way, forecasts)
        for index in range(len(evidence.candidates))
    ]
    standings = _with_front(evidence, standings)
    winner = _elect(evidence, standings)
    closest = None if winner is not None else _closest(standings)
    decision = TuningDecision(
        gates=gates,
        standings=tuple(standings),
        winner=winner,
        closest=closest,
        sentence="",
    )
    sentence = (
        nobody_wins(evidence, spec, decision)
        if winner is None
        else winner_sentence(evidence, spec, decision)
    )
    return decision.model_copy(update={"sentence": sentence})


def runs_of(evidence: Evidence, index: int) -> list[LoadRun]:
    """Loads that a candidate was put under."""
    return [run for run in evidence.runs if run.candidate == index]


def _standing(
    evidence: Evidence,
    spec: TuneServingSpec,
    index: int,
    gates: Mapping[int, GateVerdict],
    forecasts: Mapping[int, Forecast],
) -> Standing:
    forecast = forecasts.get(index)
    known = {
        "candidate": index,
        "rows_per_s": forecast.rows_per_s if forecast else None,
        "forecast_p99_ms": forecast.p99_ms if forecast else None,
    }
    if (reason := why_not(evidence, spec, index, gates, forecasts)) is not None:
        status, why = reason
        return Standing(status=Status(status), why=why, **known)
    p99 = measured_p99(evidence, spec, index)
    if p99 is None:
        if (failure := evidence.undeployed.get(index)) is not None:
            return Standing(status=Status.FAILED, why=failure, **known)
        why = evidence.stopped_by or _why_unmeasured(evidence, index)
        return Standing(status=Status.NOT_DEPLOYED, why=why, **known)
    runs = runs_of(evidence, index)
    times = [time for run in runs for time in run.latencies_ms]
    status, why = _judge_p99(spec, p99, runs)
    return Standing(
        status=status,
        why=why,
        num_runs=len(runs),
        num_requests=p99.num_requests,
        num_failed=sum(run.num_failed for run in runs),
        p50_ms=median(times) if times else None,
        p99_ms=_finite(p99.value),
        p99_low_ms=_finite(p99.low),
        p99_high_ms=_finite(p99.high),
        good_per_s=sum(len(run.latencies_ms) for run in runs) / sum(r.duration_s for r in runs),
        **known,
    )


def _why_unmeasured(evidence: Evidence, index: int) -> str:
    own = evidence.candidates[index].num_cpus
    tried = [evidence.candidates[run.candidate].num_cpus for run in evidence.runs]
    if not tried:
        return "nothing was put under load"
    if max(tried) < own:
        return "a cheaper one was enough"
    return "others of its price were more promising"


def _judge_p99(spec: TuneServingSpec, p99: P99, runs: list[LoadRun]) -> tuple[Status, str]:
    goal = spec.objective.p99_ms
    failed = sum(run.num_failed for run in runs)
    failures = f"; {failed} of {p99.num_requests:,} requests failed" if failed else ""
    found = f"p99 {_ms(p99.value)} ({_ms(p99.low)} to {_ms(p99.high)}){failures}"
    if p99.low > goal:
        return Status.MISSED, f"{found}, above {goal:g} ms"
    if p99.high > goal:
        few = "" if p99.high < float("inf") else ": too few requests for an upper limit"
        return Status.UNSURE, f"{found}, not shown to be within {goal:g} ms{few}"
    if len(runs) < spec.measurement.repeats:
        planned = spec.measurement.repeats
        return Status.UNSURE, f"{found}, but measured {len(runs)} of {planned} times only"
    return Status.MET, f"{found}, within {goal:g} ms"


def _with_front(evidence: Evidence, standings: list[Standing]) -> list[Standing]:
    """Marked: whom no other that was measured beats in both price and p99."""
    points = {
        one.candidate: (evidence.candidates[one.candidate].num_cpus, one.p99_ms)
        for one in standings
        if one.status in _MEASURED and one.p99_ms is not None
    }

    def is_beaten(cpus: float, p99_ms: float) -> bool:
        return any(
            c <= cpus and p <= p99_ms and (c, p) != (cpus, p99_ms)
            for c, p in points.values()
            if p is not None
        )

    return [
        one.model_copy(update={"is_on_front": not is_beaten(point[0], point[1])})
        if (point := points.get(one.candidate)) is not None and point[1] is not None
        else one
        for one in standings
    ]


def _elect(evidence: Evidence, standings: list[Standing]) -> int | None:
    met = [one for one in standings if one.status is Status.MET]
    if not met:
        return None
    cheapest = min(evidence.candidates[one.candidate].num_cpus for one in met)
    level = [one for one in met if evidence.candidates[one.candidate].num_cpus == cheapest]
    best_high = min(one.p99_high_ms or 0.0 for one in level)
    alike = [one for one in level if (one.p99_low_ms or 0.0) <= best_high]

    def key(one: Standing) -> tuple[tuple[int, int], float]:
        way = evidence.ways[evidence.candidates[one.candidate].way]
        return way.plainness, one.p99_ms or 0.0

    return min(alike, key=key).candidate


def _closest(standings: list[Standing]) -> int | None:
    """The lowest upper limit of a p99 that was measured, or the p99 itself where none has a limit.

    Where nothing was measured, the lowest forecast.
    """
    measured = [
        (one.p99_high_ms or float("inf"), one.p99_ms, one.candidate)
        for one in standings
        if one.p99_ms is not None
    ]
    if measured:
        return min(measured)[-1]
    forecast = [one for one in standings if one.forecast_p99_ms is not None]
    if not forecast:
        return None
    return min(forecast, key=lambda one: one.forecast_p99_ms or 0.0).candidate


def _ms(value: float) -> str:
    return "no limit" if value == float("inf") else f"{value:.1f}"


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
