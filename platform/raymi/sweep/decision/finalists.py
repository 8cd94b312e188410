"""Which ways to compute are worth training, and in which cut: only those that could win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raymi.specs.sweep import Objective
from raymi.sweep.decision.case import Case
from raymi.sweep.decision.contest import Contest, enter
from raymi.sweep.decision.feasibility import obstacle_to_run
from raymi.sweep.decision.quality import rows_missing
from raymi.sweep.decision.target import critical_batch_size, samples_to_target, scale_samples
from raymi.sweep.decision.words import times_of
from raymi.sweep.evidence import Evidence, Purpose
from raymi.sweep.setting import Setting, learn_alike_but_for_batch
from raymi.train.failure import Reason


@dataclass(frozen=True)
class Prospects:
    """Who could win, were their quality good enough."""

    hopeful: tuple[str, ...]
    """Numerics other than the reference's, the best first."""

    hopeless: Mapping[str, str]
    """Numerics -> why they cannot win."""


def choose_finalists(evidence: Evidence, *, limit: int) -> tuple[str, ...]:
    """Numerics worth training besides the reference's, the best first.

    Args:
        evidence: Everything measured so far.
        limit: Of how many there may be.
    """
    contest = enter(evidence)
    if rows_missing(contest.case) is not None:
        return ()
    return assess(contest).hopeful[:limit]


def setting_to_train(evidence: Evidence, numerics: str) -> int:
    """The cut of a way to compute that would win among its own.

    Raises:
        ValueError: No setting has these numerics.
    """
    contest = enter(evidence)
    own = contest.case.settings_of(numerics)
    if not own:
        raise ValueError(f"no setting computes {numerics}")
    runnable = [s.index for s in own if obstacle_to_run(contest, s) is None]
    if runnable:
        return _forecast(contest).first_choice(runnable)
    alive = [s for s in own if s.index not in contest.case.dead] or own
    reference = contest.case.reference
    return reference.index if reference in alive else min(alive, key=lambda s: s.safety).index


def assess(contest: Contest) -> Prospects:
    """Who could win, from the probe and the runs so far; ties with the reference cannot."""
    case = contest.case
    forecast = _forecast(contest)
    runnable: dict[str, list[int]] = {name: [] for name in case.numerics}
    for setting in case.settings:
        if obstacle_to_run(contest, setting) is None:
            runnable[setting.numerics].append(setting.index)
    bar = forecast.best(runnable[case.reference.numerics])
    hopeful: dict[str, tuple[float, ...]] = {}
    hopeless: dict[str, str] = {}
    for name in case.numerics:
        if name == case.reference.numerics or _has_given_up(case, name):
            continue
        why = _why_hopeless(forecast, name, runnable[name], bar)
        if why is None:
            hopeful[name] = _rank(forecast, name, runnable[name])
        else:
            hopeless[name] = f"cannot win: {why}"
    return Prospects(hopeful=tuple(sorted(hopeful, key=hopeful.__getitem__)), hopeless=hopeless)


def _why_hopeless(
    forecast: Contest, numerics: str, runnable: Sequence[int], bar: int | None
) -> str | None:
    case, objective = forecast.case, forecast.objective
    if not runnable:
        given_up = [
            case.evidence.probe.given_up.get(one.index) for one in case.settings_of(numerics)
        ]
        return given_up[0] if all(given_up) else "none of its settings can run within the limits"
    if objective is Objective.QUALITY:
        return None
    best = forecast.best(runnable)
    if best is None:
        has_run = bool(case.finished(numerics, Purpose.QUALITY))
        is_about_target = objective is Objective.COST_TO_TARGET
        return "it did not reach the target" if has_run and is_about_target else None
    if bar is None:
        return None
    if objective is Objective.COST_TO_TARGET and not _is_bounded(case, numerics):
        return None
    label = case.settings[bar].label
    if forecast.is_tie(best, bar):
        return f"even its best is within the noise of {label}, which computes as the reference does"
    times = forecast.advantage(best, bar).median
    if times >= 1.0:
        return None
    if_alike = ", if it learns as well" if objective is Objective.COST_TO_TARGET else ""
    return f"at best {times_of(objective, times)} of {label}{if_alike}"


def _has_given_up(case: Case, numerics: str) -> bool:
    """Whether its runs have already shown that it will not do."""
    runs = case.runs(numerics, Purpose.QUALITY)
    is_stopped = any(run.reason == Reason.STOPPED_EARLY for run in runs)
    return is_stopped or bool(case.failed(numerics, Purpose.QUALITY))


def _rank(forecast: Contest, numerics: str, runnable: Sequence[int]) -> tuple[float, ...]:
    """Less is more promising: by the objective, then by speed."""
    case = forecast.case
    fastest = max(forecast.costs[index].samples_per_s or 0.0 for index in runnable)
    if forecast.objective is Objective.QUALITY:
        runs = case.finished(numerics, Purpose.QUALITY)
        value = runs[min(runs)].metric if runs else None
    else:
        best = forecast.best(runnable)
        value = None if best is None else forecast.value(best)
    if value is None:
        return (1.0, 0.0, -fastest)
    return (0.0, -forecast.sign * value, -fastest)


def _forecast(contest: Contest) -> Contest:
    """The same contest, with what a target is expected to cost where it was not measured."""
    case = contest.case
    if contest.objective is not Objective.COST_TO_TARGET:
        return contest
    known = samples_to_target(case)
    least = min((one.num_samples for one in known.values()), default=1.0)
    reference = known.get(case.reference.numerics)
    # Without any run only ratios matter.
    samples = reference.num_samples if reference else least
    costs = []
    for setting in case.settings:
        one = contest.costs[setting.index]
        is_open = one.cost_to_target_s is None and one.samples_per_s is not None
        if is_open and not case.finished(setting.numerics, Purpose.QUALITY):
            needed = samples * _least_share(case, setting)
            seconds = setting.num_workers * needed / (one.samples_per_s or 1.0)
            one = one.model_copy(update={"cost_to_target_s": seconds, "is_predicted": True})
        costs.append(one)
    return replace(contest, costs=tuple(costs))


def _least_share(case: Case, setting: Setting) -> float:
    """The least share of the reference's samples that a batch size can need, learning alike.

    A larger batch never needs fewer samples, and a smaller one never fewer steps.
    """
    ours, theirs = setting.global_batch_size, case.reference.global_batch_size
    critical = critical_batch_size(case)
    if critical is not None:
        return scale_samples(1.0, theirs, ours, critical_batch_size=critical)
    return min(1.0, ours / theirs)


def _is_bounded(case: Case, numerics: str) -> bool:
    """Whether it can be foreseen how fast it learns at best: it was trained, or it differs from
    the reference in nothing but precision and batch."""
    if case.finished(numerics, Purpose.QUALITY):
        return True
    setting, reference = case.settings_of(numerics)[0], case.reference
    if not setting.point:
        return True
    as_precise = setting.point | {"precision": reference.precision.value}
    twin = setting.model_copy(update={"point": as_precise})
    return learn_alike_but_for_batch(case.spec, twin, reference)
