"""Is a way to compute good enough to be served? Judged on the test rows, as a training sweep does.

The weights are fixed, so rows are all that is drawn at random: differences are paired by row, and
the test is that of `raymi.significance.non_inferiority` with a single seed. With accuracy it counts
the rows on which one is right and the other wrong, which is McNemar's table with a margin.

Another backend with the reference's own fp32 arithmetic adds the same numbers in another order.
That needs no test, and could not pass one with few rows: its answers must be the same ones.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np

from raymi.serve.export.parity import TOLERANCES
from raymi.serve.tuning.evidence import Evidence, Outputs
from raymi.significance.multiplicity import holm
from raymi.significance.non_inferiority import Comparison, compare
from raymi.specs.backend import ServingPrecision
from raymi.specs.tune_serving import ServingGate
from raymi.store.record import Record


class GateOutcome(StrEnum):
    """What is known about a way to compute."""

    REFERENCE = "reference"
    SAME = "same"
    """It gives the reference's answers."""

    NOT_WORSE = "not_worse"
    WORSE = "worse"
    NOT_SHOWN = "not_shown"
    TOO_FEW_ROWS = "too_few_rows"
    DIFFERENT = "different"
    """It should give the reference's answers, and does not."""

    NOT_JUDGED = "not_judged"


PASSED = frozenset({GateOutcome.REFERENCE, GateOutcome.SAME, GateOutcome.NOT_WORSE})


class GateVerdict(Record):
    """One way to compute, judged."""

    way: int
    outcome: GateOutcome
    why: str
    """In one clause."""

    num_rows: int = 0
    """Test rows."""

    quality: float | None = None
    """The metric on them."""

    difference: float | None = None
    """More is better: points of accuracy as a share, or relative to the reference."""

    lower_bound: float | None = None
    upper_bound: float | None = None
    p_adjusted: float | None = None
    """Of "worse by the margin or more", corrected for all ways that were tested."""

    @property
    def has_passed(self) -> bool:
        """Whether it may be served."""
        return self.outcome in PASSED


def judge(evidence: Evidence, gate: ServingGate) -> tuple[GateVerdict, ...]:
    """Every way that answered, in order."""
    outputs = {one.way: one for one in evidence.outputs}
    reference = outputs.get(0)
    if reference is None:
        return ()
    tested = [way for way in outputs if way and not _must_be_same(evidence, way)]
    can_test = evidence.has_test_rows and len(reference.scores) > 1
    compared = {way: _compare(evidence.metric, outputs[way], reference, gate)
                for way in tested} if can_test else {}  # fmt: skip
    adjusted = dict(zip(compared, holm([one.p_value for one in compared.values()]), strict=True))
    verdicts = []
    for way, found in sorted(outputs.items()):
        if way == 0:
            verdicts.append(_verdict(evidence, found, GateOutcome.REFERENCE, "as it was evaluated"))
        elif _must_be_same(evidence, way):
            verdicts.append(_judge_same(evidence, found))
        elif way in compared:
            verdicts.append(_judge_tested(found, compared[way], adjusted[way], gate))
        else:
            why = f"quality was not judged: {evidence.dataset}"
            verdicts.append(_verdict(evidence, found, GateOutcome.NOT_JUDGED, why))
    return tuple(verdicts)


def _must_be_same(evidence: Evidence, way: int) -> bool:
    ours, theirs = evidence.ways[way].precision, evidence.ways[0].precision
    return ours is theirs is ServingPrecision.FP32


def _compare(metric: str, candidate: Outputs, reference: Outputs, gate: ServingGate) -> Comparison:
    counts = None if reference.counts is None else np.array(reference.counts)
    return compare(
        np.array([candidate.scores]),
        np.array([reference.scores]),
        metric=metric,
        margin=gate.margin,
        confidence=gate.confidence,
        power=gate.power,
        counts=counts,
    )


def _judge_same(evidence: Evidence, found: Outputs) -> GateVerdict:
    tolerance = TOLERANCES[ServingPrecision.FP32]
    said = f"{found.num_rows} rows differ by at most {found.max_abs_difference:.2g}"
    is_same = found.max_abs_difference <= tolerance.difference and not found.labels_differ
    if is_same:
        return _verdict(evidence, found, GateOutcome.SAME, f"the same answers: {said}")
    labels = f", {found.labels_differ} have another label" if found.labels_differ else ""
    why = f"not the same answers: {said} (allowed {tolerance.difference:g}){labels}"
    return _verdict(evidence, found, GateOutcome.DIFFERENT, why)


def _judge_tested(
    found: Outputs, compared: Comparison, p_adjusted: float, gate: ServingGate
) -> GateVerdict:
    outcome, why = _outcome(compared, p_adjusted, gate)
    return GateVerdict(
        way=found.way,
        outcome=outcome,
        why=why,
        num_rows=compared.num_rows,
        quality=compared.quality_candidate,
        difference=_finite(compared.difference),
        lower_bound=_finite(compared.lower_bound),
        upper_bound=_finite(compared.upper_bound),
        p_adjusted=p_adjusted,
    )


def _outcome(compared: Comparison, p_adjusted: float, gate: ServingGate) -> tuple[GateOutcome, str]:
    margin = f"{gate.margin:g}"
    both = f"{compared.quality_candidate:.4f} against {compared.quality_reference:.4f}"
    if compared.upper_bound < -gate.margin:
        return GateOutcome.WORSE, f"worse by more than {margin}: {both}"
    if not compared.has_power:
        return GateOutcome.TOO_FEW_ROWS, (
            f"a margin of {margin} needs about {compared.rows_needed:,} test rows, "
            f"there are {compared.num_rows:,}"
        )
    bound = f"lower bound {compared.lower_bound:+.4f}"
    if p_adjusted <= 1.0 - gate.confidence:
        return GateOutcome.NOT_WORSE, f"not worse by more than {margin} ({bound})"
    return GateOutcome.NOT_SHOWN, (
        f"not shown to be within {margin} of the reference ({both}, {bound}, p {p_adjusted:.2g})"
    )


def _verdict(evidence: Evidence, found: Outputs, outcome: GateOutcome, why: str) -> GateVerdict:
    return GateVerdict(
        way=found.way,
        outcome=outcome,
        why=why,
        num_rows=len(found.scores),
        quality=_quality(evidence.metric, found),
    )


def _quality(metric: str, found: Outputs) -> float | None:
    if not found.scores:
        return None
    mean = float(np.mean(found.scores))
    if metric == "rmse":
        return math.sqrt(mean)
    return mean if found.counts is None else float(np.sum(found.scores) / np.sum(found.counts))


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if abs(value) < float("inf") else None
