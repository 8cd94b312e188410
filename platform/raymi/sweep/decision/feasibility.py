"""Why a setting cannot win, whatever its objective: it does not run, or breaks a constraint."""

from __future__ import annotations

from dataclasses import dataclass

from raymi.specs.sweep import Objective
from raymi.sweep.decision.case import Case
from raymi.sweep.decision.contest import Contest
from raymi.sweep.decision.memory import did_not_fit
from raymi.sweep.decision.words import quality_text
from raymi.sweep.evidence import Glance
from raymi.sweep.setting import Setting
from raymi.sweep.verdicts import Outcome, QualityTest, Standing


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps a setting from winning."""

    standing: Standing
    why: str


def obstacle_to_run(contest: Contest, setting: Setting) -> Obstacle | None:
    """What the probe alone says: it fails, was not timed, takes too much memory or too long."""
    case, costs = contest.case, contest.costs[setting.index]
    constraints = case.spec.constraints
    if setting.index in case.dead:
        is_given_up = setting.index in case.evidence.probe.given_up
        standing = Standing.BEATEN if is_given_up else Standing.FAILED
        return Obstacle(standing, case.dead[setting.index])
    if (obstacle := _too_large(case, setting, costs.peak_memory_gib)) is not None:
        return obstacle
    if not contest.speeds.is_timed(setting.index):
        return _not_timed(case, setting)
    if constraints.max_peak_memory_gib is not None and costs.peak_memory_gib is None:
        return Obstacle(Standing.UNKNOWN, "its memory was not measured, and there is a limit")
    if constraints.max_latency_ms is not None:
        if costs.latency_ms is None:
            return Obstacle(Standing.UNKNOWN, "its latency was not measured, and there is a limit")
        if costs.latency_ms > constraints.max_latency_ms:
            what = f"one row takes {costs.latency_ms:.2f} ms"
            limit_ms = f"max_latency_ms is {constraints.max_latency_ms:g}"
            return Obstacle(Standing.INFEASIBLE, f"{what}, {limit_ms}")
    return None


def obstacle_in_quality(
    contest: Contest, test: QualityTest, *, is_hopeless: bool
) -> Obstacle | None:
    """What training runs say about a way to compute.

    Args:
        contest: What was measured.
        test: Of the way to compute.
        is_hopeless: Whether the probe alone has shown that it cannot win.
    """
    if (obstacle := _untested(contest, test, is_hopeless=is_hopeless)) is not None:
        return obstacle
    floor = contest.case.spec.constraints.min_quality
    if floor is None:
        return None
    if test.quality is None:
        return Obstacle(Standing.UNKNOWN, "its quality was not measured, and min_quality is set")
    if contest.case.is_better(floor, test.quality):
        what = (
            f"{contest.case.evidence.metric} {quality_text(test.quality)}, min_quality is {floor:g}"
        )
        return Obstacle(Standing.INFEASIBLE, what)
    return None


def _untested(contest: Contest, test: QualityTest, *, is_hopeless: bool) -> Obstacle | None:
    match test.outcome:
        case Outcome.REFERENCE | Outcome.NOT_WORSE:
            return None
        case Outcome.FAILED:
            return Obstacle(Standing.REJECTED, test.why)
        case Outcome.NOT_TESTED:
            standing = Standing.BEATEN if is_hopeless else Standing.UNKNOWN
            return Obstacle(standing, test.why)
        case Outcome.WORSE | Outcome.NOT_SHOWN | Outcome.TOO_FEW_ROWS | Outcome.TOO_FEW_SEEDS:
            pass
    if test.quality is not None and test.p_value is None:
        return Obstacle(Standing.UNKNOWN, test.why)
    # The best quality need not be inside a margin: those that differ are told apart by a test.
    wants_quality = contest.objective is Objective.QUALITY and test.p_value is not None
    return None if wants_quality else Obstacle(Standing.REJECTED, test.why)


def _too_large(case: Case, setting: Setting, peak_gib: float | None) -> Obstacle | None:
    if did_not_fit(case, setting):
        what = f"a micro-batch of {setting.micro_batch_size} does not fit into memory"
        return Obstacle(Standing.INFEASIBLE, what)
    if peak_gib is None:
        return None
    limits_gib = {
        "what a worker may use": case.evidence.probe.memory_limit_gib,
        "max_peak_memory_gib": case.spec.constraints.max_peak_memory_gib,
    }
    for name, limit_gib in limits_gib.items():
        if limit_gib is not None and peak_gib > limit_gib:
            what = f"takes {peak_gib:.2f} GiB, {name} is {limit_gib:.2f}"
            return Obstacle(Standing.INFEASIBLE, what)
    return None


def _not_timed(case: Case, setting: Setting) -> Obstacle:
    """Why there are no windows: its first pass failed, or nobody came to it."""
    glance = _glance(case, setting)
    if glance is not None and glance.sample_s is None:
        return Obstacle(Standing.FAILED, glance.why or "its first pass failed")
    why = case.evidence.spending.why_cut_short
    return Obstacle(Standing.UNKNOWN, f"not timed: {why}" if why else "not timed")


def _glance(case: Case, setting: Setting) -> Glance | None:
    """A look at what differs by its micro-batch alone."""
    group = case.memory_group(setting)
    return next(
        (
            glance
            for glance in case.evidence.probe.glances
            if case.memory_group(case.settings[glance.setting]) == group
        ),
        None,
    )
