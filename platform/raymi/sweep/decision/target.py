"""How many samples a setting must learn from until it is as good as asked, measured or predicted.

By the gradient noise scale a run takes `S_min (1 + B_crit / B)` optimizer steps of B samples
(McCandlish et al., arXiv 1812.06162), so one trained batch size foretells the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from raymi.sweep.decision.case import Case
from raymi.sweep.evidence import CurvePoint, NoiseScale, Purpose
from raymi.sweep.setting import Setting, learn_alike_but_for_batch


@dataclass(frozen=True, slots=True)
class SamplesToTarget:
    """Training samples until the validation metric reaches the target."""

    num_samples: float
    is_predicted: bool


def find_target(case: Case) -> float | None:
    """The validation metric to reach; None: nobody said so, and no reference has been trained."""
    if case.spec.quality.target is not None:
        return case.spec.quality.target
    reference = case.quality(case.reference.numerics)
    if reference is None:
        return None
    if case.evidence.metric == "accuracy":
        return reference - case.margin
    return reference * (1.0 + case.margin)


def critical_batch_size(case: Case) -> float | None:
    """Of the reference; None where it was not measured, or where noise hides the gradient."""
    scales = [
        run.noise_scale
        for run in case.runs(case.reference.numerics, Purpose.QUALITY)
        if run.noise_scale is not None and run.noise_scale.num_estimates > 0
    ]
    if not scales:
        return None
    # Each part is unbiased; their ratio is not, so it is taken last.
    total = sum(scale.num_estimates for scale in scales)
    return NoiseScale(
        gradient_square=math.fsum(s.gradient_square * s.num_estimates for s in scales) / total,
        noise_trace=math.fsum(s.noise_trace * s.num_estimates for s in scales) / total,
        num_estimates=total,
    ).critical_batch_size


def samples_to_target(case: Case) -> dict[str, SamplesToTarget]:
    """Numerics -> samples until the target; those that did not get there are left out.

    Numerics that were not trained follow from one that was and differs in the batch only.
    """
    target = find_target(case)
    if target is None:
        return {}
    found = {
        name: SamplesToTarget(samples, is_predicted=False)
        for name in case.numerics
        if (samples := _measured(case, name, target)) is not None
    }
    critical = critical_batch_size(case)
    if critical is None:
        return found
    predicted = {}
    for name in case.numerics:
        source = _source(case, name, list(found))
        if source is not None and not case.runs(name, Purpose.QUALITY):
            predicted[name] = SamplesToTarget(
                scale_samples(
                    found[source.numerics].num_samples,
                    source.global_batch_size,
                    case.settings_of(name)[0].global_batch_size,
                    critical_batch_size=critical,
                ),
                is_predicted=True,
            )
    return found | predicted


def scale_samples(
    num_samples: float, batch: int, other_batch: int, *, critical_batch_size: float
) -> float:
    """Samples that another batch size takes to get as far."""
    return num_samples * (other_batch + critical_batch_size) / (batch + critical_batch_size)


def first_reached(curve: Sequence[CurvePoint], target: float, *, rises: bool) -> float | None:
    """Samples at which a curve first is as good as the target, on straight lines between points.

    Args:
        curve: In order; before its first point nothing is known, so that is the earliest answer.
        target: The value to reach.
        rises: Whether more is better.
    """
    sign = 1.0 if rises else -1.0
    before: CurvePoint | None = None
    for point in curve:
        if sign * (point.value - target) >= 0.0:
            if before is None:
                return float(point.num_samples)
            share = (target - before.value) / (point.value - before.value)
            return before.num_samples + share * (point.num_samples - before.num_samples)
        before = point if math.isfinite(point.value) else None
    return None


def _measured(case: Case, numerics: str, target: float) -> float | None:
    """Mean over seeds; None if one broke down or never got there."""
    if case.failed(numerics, Purpose.QUALITY):
        return None
    reached = [
        first_reached(run.curve, target, rises=case.evidence.higher_is_better)
        for run in case.finished(numerics, Purpose.QUALITY).values()
    ]
    known = [samples for samples in reached if samples is not None]
    if not known or len(known) < len(reached):
        return None
    return math.fsum(known) / len(known)


def _source(case: Case, numerics: str, trained: Sequence[str]) -> Setting | None:
    """The trained setting to predict from: the reference, else that of the nearest batch."""
    wanted = case.settings_of(numerics)[0]
    alike = [
        setting
        for name in trained
        if learn_alike_but_for_batch(case.spec, setting := case.settings_of(name)[0], wanted)
    ]
    ours = case.reference.numerics
    return min(
        alike,
        key=lambda one: (
            one.numerics != ours,
            abs(math.log(one.global_batch_size / wanted.global_batch_size)),
        ),
        default=None,
    )
