"""Which trial wins, and why: a pure function of the trials, the objective and the constraints."""

from __future__ import annotations

from collections.abc import Sequence

from raymi.specs.precision import SAFEST_FIRST
from raymi.specs.sweep import ConstraintSpec, Objective
from raymi.store.record import Record
from raymi.sweep.trial import Status, Trial
from raymi.train.result import TrainResult

HIGHER_IS_BETTER = {"accuracy": True, "rmse": False, "loss": False}
"""Direction of each primary metric."""


class Verdict(Record):
    """What the decision says about one trial."""

    index: int
    """The trial."""

    is_feasible: bool
    """Whether it meets every constraint."""

    why: str
    """One clause for the table."""


class Decision(Record):
    """The winner and everybody's verdict."""

    winner: int | None
    """Index of the winning trial; None when no trial meets the constraints."""

    verdicts: tuple[Verdict, ...]
    """In trial order."""

    sentence: str
    """Why the winner won, or why nobody did."""


def decide(
    trials: Sequence[Trial],
    *,
    objective: Objective,
    constraints: ConstraintSpec,
    tie_within: float,
) -> Decision:
    """Choose the best feasible trial.

    Feasible trials whose objective is within `tie_within` (relative) of the best are equal;
    among equals the safer precision wins, then the smaller micro-batch, then the first.
    """
    finished = {trial.index: trial.result for trial in trials if trial.result is not None}
    best_quality = _best_quality(list(finished.values()))
    problems = {
        trial.index: _problem(trial, constraints=constraints, best_quality=best_quality)
        for trial in trials
    }
    feasible = [
        (trial, trial.result)
        for trial in trials
        if trial.result is not None and problems[trial.index] is None
    ]
    if not feasible:
        return Decision(
            winner=None,
            verdicts=tuple(
                Verdict(index=i, is_feasible=False, why=why or "") for i, why in problems.items()
            ),
            sentence="no trial meets every constraint",
        )
    scores = {trial.index: _score(result, objective) for trial, result in feasible}
    best = max(scores.values())
    equals = [t for t, _ in feasible if best - scores[t.index] <= tie_within * abs(best)]
    winner = min(equals, key=_safest_first)
    value = objective_value(finished[winner.index], objective)
    return Decision(
        winner=winner.index,
        verdicts=tuple(
            Verdict(
                index=trial.index,
                is_feasible=problems[trial.index] is None,
                why=problems[trial.index] or _standing(trial, winner, equals, objective),
            )
            for trial in trials
        ),
        sentence=(
            f"{winner.label} wins: {objective.value} {value:,.4g} "
            f"{_because(winner, equals, num_feasible=len(feasible), tie_within=tie_within)}"
        ),
    )


def _best_quality(results: Sequence[TrainResult]) -> float | None:
    if not results:
        return None
    metric = results[0].primary_metric
    values = [result.metrics[metric] for result in results]
    return max(values) if HIGHER_IS_BETTER[metric] else min(values)


def _problem(
    trial: Trial, *, constraints: ConstraintSpec, best_quality: float | None
) -> str | None:
    """The first constraint a trial breaks; None if it meets them all."""
    result = trial.result
    if trial.status is not Status.SUCCEEDED or result is None or best_quality is None:
        return trial.reason or trial.status.value.lower()
    metric = result.primary_metric
    quality, higher = result.metrics[metric], HIGHER_IS_BETTER[metric]
    loss = best_quality - quality if higher else quality / max(best_quality, 1e-12) - 1.0
    if loss > constraints.max_quality_loss:
        return f"{metric} {quality:.4f} is too far from the best, {best_quality:.4f}"
    floor = constraints.min_quality
    if floor is not None and (quality < floor if higher else quality > floor):
        return f"{metric} {quality:.4f} is worse than {floor:g}"
    ceiling = constraints.max_peak_memory_gib
    if ceiling is not None and result.peak_memory_gib > ceiling:
        return f"peak memory {result.peak_memory_gib:.2f} GiB is over {ceiling:g} GiB"
    return None


def objective_value(result: TrainResult, objective: Objective) -> float:
    """The number the objective is about, in its own unit."""
    values = {
        Objective.QUALITY: result.metrics[result.primary_metric],
        Objective.SAMPLES_PER_S: result.samples_per_s,
        Objective.PEAK_MEMORY_GIB: result.peak_memory_gib,
        Objective.DURATION_S: result.duration_s,
    }
    return values[objective]


def _score(result: TrainResult, objective: Objective) -> float:
    """The objective, turned so that more is better."""
    higher = {
        Objective.QUALITY: HIGHER_IS_BETTER[result.primary_metric],
        Objective.SAMPLES_PER_S: True,
        Objective.PEAK_MEMORY_GIB: False,
        Objective.DURATION_S: False,
    }
    value = objective_value(result, objective)
    return value if higher[objective] else -value


def _safest_first(trial: Trial) -> tuple[int, int, int]:
    return SAFEST_FIRST.index(trial.precision), trial.micro_batch_size, trial.index


def _standing(trial: Trial, winner: Trial, equals: Sequence[Trial], objective: Objective) -> str:
    if trial is winner:
        return "winner"
    if trial in equals:
        return "tie, settled for the safer setting"
    return f"meets the constraints, {objective.value} is worse"


def _because(
    winner: Trial, equals: Sequence[Trial], *, num_feasible: int, tie_within: float
) -> str:
    if num_feasible == 1:
        return "is that of the only trial that meets every constraint"
    if len(equals) == 1:
        return f"is the best of the {num_feasible} trials that meet every constraint"
    others = ", ".join(trial.label for trial in equals if trial is not winner)
    return f"is within {tie_within:.0%} of the best, and it is the safer setting than {others}"
