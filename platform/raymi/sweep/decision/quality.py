"""Is a way to compute as good as the reference? Tested on validation rows, then on fresh ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from raymi.significance.multiplicity import holm
from raymi.significance.non_inferiority import MIN_SEEDS, Comparison, fewest_rows
from raymi.sweep.decision.case import Case
from raymi.sweep.decision.pairs import Pairs, compare_pairs, pair_up
from raymi.sweep.decision.words import quality_text
from raymi.sweep.evidence import Purpose
from raymi.sweep.verdicts import Confirmation, Outcome, QualityTest
from raymi.train.failure import Reason

_NUMERIC_REASONS = (
    Reason.DIVERGED,
    Reason.BAD_GRADIENTS,
    Reason.SCALE_COLLAPSE,
    Reason.LOSS_SPIKE,
)
"""Reasons that lie in what was computed."""


@dataclass(frozen=True)
class _Compared:
    """A candidate that has runs to compare."""

    pairs: Pairs
    comparison: Comparison
    p_adjusted: float = 1.0


def list_tests(case: Case, hopeless: Mapping[str, str]) -> tuple[QualityTest, ...]:
    """Every way to compute against the reference's.

    Args:
        case: The sweep.
        hopeless: Numerics -> why it could not win, so that it was not trained.
    """
    compared = _compare_all(case)
    return tuple(
        _compared_test(case, name, compared[name])
        if name in compared
        else _uncompared_test(case, name, hopeless)
        for name in case.numerics
    )


def rows_missing(case: Case) -> str | None:
    """Why no candidate could pass with the evaluation rows there are; None: one could."""
    if case.evidence.metric != "accuracy":
        return None
    quality, num_rows = case.spec.quality, case.num_rows(Purpose.QUALITY)
    needed = fewest_rows(case.margin, confidence=quality.confidence, power=quality.power)
    return None if num_rows >= needed else _too_few_rows(case, needed, num_rows)


def confirm(case: Case, numerics: str) -> Confirmation | None:
    """A way to compute once more, with fresh seeds on test rows; None: it was not tried.

    What is chosen from several is chosen for its luck, too. So the estimate itself must be inside
    the margin again; it need not be shown once more.
    """
    # A disk that is full says nothing about numbers.
    failed = [
        (seed, reason)
        for seed, reason in case.failed(numerics, Purpose.CONFIRMATION)
        if reason in _NUMERIC_REASONS
    ]
    if failed:
        why = f"with a fresh seed it did not train to the end: {_broken(failed)}"
        return Confirmation(numerics=numerics, is_confirmed=False, why=why)
    pairs = pair_up(case, numerics, case.reference.numerics, Purpose.CONFIRMATION)
    if pairs is None:
        return None
    found = compare_pairs(case, pairs)
    is_confirmed = found.difference > -case.margin
    inside = "within" if is_confirmed else "worse by more than"
    what = _against(found)
    return Confirmation(
        numerics=numerics,
        is_confirmed=is_confirmed,
        why=f"{what} on fresh seeds and test rows, {inside} the margin of {case.margin:g}",
        num_seeds=found.num_seeds,
        num_rows=found.num_rows,
        difference=found.difference,
        lower_bound=_finite(found.lower_bound),
        upper_bound=_finite(found.upper_bound),
    )


def _compare_all(case: Case) -> dict[str, _Compared]:
    """Candidates with at least two pairs, with p-values corrected for all that were named."""
    reference = case.reference.numerics
    found: dict[str, _Compared] = {}
    for name in case.numerics:
        if name == reference or case.failed(name, Purpose.QUALITY):
            continue
        pairs = pair_up(case, name, reference, Purpose.QUALITY)
        if pairs is not None and len(pairs.seeds) >= MIN_SEEDS:
            found[name] = _Compared(pairs, compare_pairs(case, pairs))
    # Finalists that were named but not compared count as candidates that say nothing: who is
    # compared later must not depend on how earlier ones came out.
    unheard = [1.0 for name in case.evidence.finalists if name not in found]
    adjusted = holm([*(one.comparison.p_value for one in found.values()), *unheard])
    return {
        name: _Compared(one.pairs, one.comparison, p)
        for (name, one), p in zip(found.items(), adjusted, strict=False)
    }


def _compared_test(case: Case, numerics: str, compared: _Compared) -> QualityTest:
    found = compared.comparison
    outcome, why = _judge(case, found, compared.p_adjusted)
    return QualityTest(
        numerics=numerics,
        outcome=outcome,
        why=why,
        num_seeds=found.num_seeds,
        num_rows=found.num_rows,
        rows_needed=found.rows_needed,
        quality=case.quality(numerics),
        difference=_finite(found.difference),
        lower_bound=_finite(found.lower_bound),
        upper_bound=_finite(found.upper_bound),
        p_value=found.p_value,
        p_adjusted=compared.p_adjusted,
    )


def _judge(case: Case, found: Comparison, p_adjusted: float) -> tuple[Outcome, str]:
    margin = f"{case.margin:g}"
    if found.is_worse:
        what = _against(found)
        return Outcome.WORSE, f"worse than the reference by more than {margin}: {what}"
    if found.seeds_needed is not None:
        return Outcome.TOO_FEW_SEEDS, (
            f"seeds differ so much that a margin of {margin} needs about "
            f"{found.seeds_needed:,} of them, there are {found.num_seeds}"
        )
    if not found.has_power:
        return Outcome.TOO_FEW_ROWS, _too_few_rows(case, found.rows_needed, found.num_rows)
    bound = f"lower bound {found.lower_bound:+.4f}"
    if p_adjusted <= 1.0 - found.confidence:
        return Outcome.NOT_WORSE, f"not worse by more than {margin} ({bound})"
    return Outcome.NOT_SHOWN, (
        f"not shown to be within {margin} of the reference ({bound}, p {p_adjusted:.2g})"
    )


def _uncompared_test(case: Case, numerics: str, hopeless: Mapping[str, str]) -> QualityTest:
    """Without two pairs of runs."""
    outcome, why = _why_uncompared(case, numerics, hopeless)
    pairs = pair_up(case, numerics, case.reference.numerics, Purpose.QUALITY)
    is_reference = numerics == case.reference.numerics
    num_seeds = len(case.finished(numerics, Purpose.QUALITY)) if is_reference else 0
    return QualityTest(
        numerics=numerics,
        outcome=outcome,
        why=why,
        num_seeds=len(pairs.seeds) if pairs and not is_reference else num_seeds,
        num_rows=pairs.num_rows if pairs else 0,
        quality=case.quality(numerics),
    )


def _why_uncompared(case: Case, numerics: str, hopeless: Mapping[str, str]) -> tuple[Outcome, str]:
    failed = case.failed(numerics, Purpose.QUALITY)
    num_finished = len(case.finished(numerics, Purpose.QUALITY))
    if numerics == case.reference.numerics:
        if failed and not num_finished:
            return Outcome.FAILED, f"the reference itself did not train: {_broken(failed)}"
        return Outcome.REFERENCE, "the reference itself"
    if failed:
        return Outcome.FAILED, f"did not train to the end: {_broken(failed)}"
    if num_finished:
        if not case.finished(case.reference.numerics, Purpose.QUALITY):
            return Outcome.NOT_TESTED, "there is no run of the reference to compare with"
        return Outcome.TOO_FEW_SEEDS, "compared with one seed only, which shows nothing"
    if runs := case.runs(numerics, Purpose.QUALITY):
        if any(run.reason == Reason.STOPPED_EARLY for run in runs):
            return Outcome.NOT_TESTED, "its first run was stopped early: others were ahead"
        return Outcome.NOT_TESTED, f"its run was stopped: {_budget(case)}"
    if (missing := rows_missing(case)) is not None:
        return Outcome.TOO_FEW_ROWS, f"refused before training: {missing}"
    if numerics in hopeless:
        return Outcome.NOT_TESTED, hopeless[numerics]
    if not case.evidence.runs and case.evidence.spending.stopped_by is None:
        return Outcome.NOT_TESTED, "it could win, and was not trained"
    return Outcome.NOT_TESTED, f"not trained: {_budget(case)}"


def _budget(case: Case) -> str:
    return case.evidence.spending.why_cut_short or "others were more promising"


def _too_few_rows(case: Case, needed: int, num_rows: int) -> str:
    return (
        f"a margin of {case.margin:g} needs about {needed:,} evaluation rows, "
        f"there are {num_rows:,}"
    )


def _broken(failed: list[tuple[int, str]]) -> str:
    seed, reason = failed[0]
    return f"{reason.replace('_', ' ')} (seed {seed})"


def _against(found: Comparison) -> str:
    return (
        f"{quality_text(found.quality_candidate)} against {quality_text(found.quality_reference)}"
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if abs(value) < float("inf") else None
