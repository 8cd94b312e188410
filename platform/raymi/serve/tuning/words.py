"""How a tuning is put into words: names of candidates, who won and why, what to change."""

from __future__ import annotations

from raymi.serve.tuning.evidence import Evidence
from raymi.serve.tuning.gate import GateOutcome
from raymi.serve.tuning.verdicts import Standing, Status, TuningDecision
from raymi.specs.tune_serving import TuneServingSpec


def describe(evidence: Evidence, index: int) -> str:
    """Such as `onnx int8, batch 8, wait 2 ms, 1 replica`."""
    candidate = evidence.candidates[index]
    wait = f", wait {candidate.max_wait_ms:g} ms" if candidate.max_batch_size > 1 else ""
    copies = "replica" if candidate.num_replicas == 1 else "replicas"
    return (
        f"{evidence.ways[candidate.way].label}, batch {candidate.max_batch_size}{wait}, "
        f"{candidate.num_replicas} {copies}"
    )


def load_words(spec: TuneServingSpec) -> str:
    """What the endpoint has to carry."""
    objective = spec.objective
    rows = "" if objective.rows_per_request == 1 else f" of {objective.rows_per_request} rows"
    source = "Poisson" if objective.trace is None else f"as in {objective.trace}"
    return f"{objective.rate_per_s:g} requests/s{rows} ({source})"


def winner_sentence(evidence: Evidence, spec: TuneServingSpec, decision: TuningDecision) -> str:
    """Who won and why."""
    index = decision.winner if decision.winner is not None else 0
    won = decision.standings[index]
    candidate = evidence.candidates[index]
    met = [one for one in decision.standings if one.status is Status.MET]
    gate = next(one for one in decision.gates if one.way == candidate.way)
    why = "the only one" if len(met) == 1 else f"the cheapest, then fastest, of {len(met)}"
    high = won.p99_high_ms or 0.0
    return (
        f"{describe(evidence, index)} wins: p99 {won.p99_ms:.1f} ms (at most {high:.1f}) at "
        f"{load_words(spec)}, {why} shown to stay within {spec.objective.p99_ms:g} ms, "
        f"for {candidate.num_cpus:g} CPU{'s' * (candidate.num_cpus != 1)}; quality: {gate.why}"
    )


def nobody_wins(evidence: Evidence, spec: TuneServingSpec, decision: TuningDecision) -> str:
    """What came closest, and what to change."""
    goal = f"p99 within {spec.objective.p99_ms:g} ms at {load_words(spec)}"
    if decision.closest is None:
        return f"nobody is shown to keep {goal}: nothing could be measured"
    closest = decision.standings[decision.closest]
    name = describe(evidence, decision.closest)
    return (
        f"nobody is shown to keep {goal}; closest: {name}: {closest.why}; "
        f"{_advice(spec, decision, closest)}"
    )


def _advice(spec: TuneServingSpec, decision: TuningDecision, closest: Standing) -> str:
    if closest.status is Status.UNSURE:
        asked_s = spec.measurement.duration_s
        longer = "" if asked_s is None else f"={3.0 * asked_s:.0f}"
        return f"try --set measurement.duration_s{longer}, or more measurement.repeats"
    failed = [gate for gate in decision.gates if not gate.has_passed]
    if any(gate.outcome is GateOutcome.TOO_FEW_ROWS for gate in failed):
        return "faster arithmetic was not judged: give more test rows or a wider gate.margin"
    if closest.p99_ms is not None:
        return (
            f"try objective.p99_ms={closest.p99_ms * 1.5:.0f}, a lower rate, or more replicas "
            "(space.num_replicas) on a cluster with free CPUs"
        )
    return "try a lower rate, a higher objective.p99_ms, or more replicas"
