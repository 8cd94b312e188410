"""A sweep as tables for terminals and logs: after the probe, at any time, and at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raymi.sweep.decision.contest import enter
from raymi.sweep.decision.feasibility import obstacle_to_run
from raymi.sweep.decision.speed import list_timings
from raymi.sweep.decision.words import quality_text
from raymi.sweep.evidence import Evidence
from raymi.sweep.verdicts import Costs, Decision, Finding, Standing, Timing
from raymi.sweep.view.columns import ABSENT, Column, text_table
from raymi.sweep.view.facts import FINDINGS, Facts, Swept, list_swept
from raymi.sweep.view.spending import read_books, spending_sentence

_LEGEND = "* winner, + nothing beats it in every respect"
_PREDICTED = ", ~ predicted from another batch size"


def format_probe(evidence: Evidence) -> str:
    """Every setting after the probe: how fast, how much memory, and what was dropped and why."""
    contest = enter(evidence)
    timings = {one.setting: one for one in list_timings(contest.case, contest.speeds)}
    dropped = {
        setting.index: obstacle.why
        for setting in evidence.settings
        if (obstacle := obstacle_to_run(contest, setting)) is not None
    }
    order = sorted(
        range(len(evidence.settings)),
        key=lambda index: (index in dropped, -_speed(timings.get(index)), index),
    )
    costs = [contest.costs[index] for index in order]
    table = text_table(
        [
            *_swept_columns(list_swept(evidence), order),
            *_speed_columns([timings.get(index) for index in order]),
            Column("GiB", [_number(one.peak_memory_gib, ".2f") for one in costs]),
            Column("ms a row", [_number(one.latency_ms, ".2f") for one in costs],
                   is_optional=True),
            Column("J a run", [amount(one.energy_j) for one in costs], is_optional=True),
            Column("", [_after_probe(evidence, index, dropped.get(index)) for index in order]),
        ]
    )  # fmt: skip
    noise = contest.speeds.noise_floor
    parts = [f"{len(order) - len(dropped)} of {len(order)} settings are left"]
    if noise is not None:
        parts.append(f"speeds closer than {noise:.1%} are equal here")
    return f"{table}\n{'; '.join(parts)}"


def _after_probe(evidence: Evidence, index: int, obstacle: str | None) -> str:
    reference = "the reference" if index == evidence.reference else ""
    return ": ".join(part for part in (reference, obstacle) if part)


def format_front(evidence: Evidence, decision: Decision) -> str:
    """The settings that nothing beats in every respect, the fastest first."""
    facts = Facts(evidence, decision)
    order = [setting.index for setting in evidence.settings if facts.is_on_front(setting.index)]
    if not order:
        return "the front is empty: nothing has been measured enough"
    order.sort(key=lambda index: (-_speed(facts.timings.get(index)), index))
    return text_table(
        [
            *_swept_columns(facts.swept, order),
            *_speed_columns([facts.timings.get(index) for index in order]),
            *_cost_columns(facts, order),
            Column("", ["the reference" if i == evidence.reference else "" for i in order]),
        ]
    )


def format_decision(evidence: Evidence, decision: Decision) -> str:
    """Every setting with what became of it; then why, what it cost, and what else was seen."""
    facts = Facts(evidence, decision)
    order = by_standing(facts)
    table = text_table(
        [
            Column("", [_mark(facts, index) for index in order]),
            *_swept_columns(facts.swept, order),
            *_speed_columns([facts.timings.get(index) for index in order]),
            *_cost_columns(facts, order),
            Column("standing", [_verdict(facts, i, lambda v: v.standing.value) for i in order]),
            Column("why", [_verdict(facts, index, lambda v: v.why) for index in order]),
        ]
    )
    legend = _LEGEND + _PREDICTED * any(costs.is_predicted for costs in decision.costs)
    spent = spending_sentence(read_books(evidence))
    return "\n".join([table, legend, "", decision.sentence, spent, *notes(facts)])


def notes(facts: Facts) -> list[str]:
    """What is worth knowing besides the sentence: findings, noise, disturbances, batch sizes."""
    decision = facts.decision
    lines = [_finding(one) for one in decision.findings if one.is_notable]
    if decision.noise_floor is not None:
        lines.append(f"speeds closer than {decision.noise_floor:.1%} are equal here")
    num_rejected = sum(one.num_rejected for one in decision.timings)
    if num_rejected:
        lines.append(f"{num_rejected} timed windows do not count: the machine was disturbed")
    if decision.critical_batch_size is not None:
        size = decision.critical_batch_size
        lines.append(f"critical batch size of the reference: about {size:,.3g} samples")
    if decision.serving_batch_sizes:
        sizes = ", ".join(map(str, decision.serving_batch_sizes))
        lines.append(f"batch sizes to try when it is served: {sizes}")
    return lines


_ORDER = list(Standing)


def by_standing(facts: Facts) -> list[int]:
    """The winner first, then as they ended; of each, the fastest first."""

    def key(index: int) -> tuple[int, float, int]:
        verdict = facts.verdicts.get(index)
        place = _ORDER.index(verdict.standing) if verdict else len(_ORDER)
        return place, -_speed(facts.timings.get(index)), index

    return sorted(range(len(facts.evidence.settings)), key=key)


def _mark(facts: Facts, index: int) -> str:
    if index == facts.decision.winner:
        return "*"
    return "+" if facts.is_on_front(index) else ""


def _verdict(facts: Facts, index: int, say: Callable[..., str]) -> str:
    verdict = facts.verdicts.get(index)
    return ABSENT if verdict is None else say(verdict)


def _finding(finding: Finding) -> str:
    return (
        f"{finding.numerics}: {FINDINGS.get(finding.what, finding.what)} changes from "
        f"{quality_text(finding.reference)} to {quality_text(finding.candidate)}, "
        f"more than chance explains ({finding.low:+.4f} to {finding.high:+.4f})"
    )


def _swept_columns(swept: Sequence[Swept], order: Sequence[int]) -> list[Column]:
    return [Column(one.header, [one.values[index] for index in order]) for one in swept]


def _speed_columns(timings: Sequence[Timing | None]) -> list[Column]:
    return [
        Column("samples/s", [amount(t.samples_per_s) if t else ABSENT for t in timings]),
        Column(
            "95% interval",
            [f"{amount(t.low)} to {amount(t.high)}" if t else ABSENT for t in timings],
            is_extra=True,
        ),
        Column("of best", [_number(t.of_best, ".3f") if t else ABSENT for t in timings]),
    ]


def _cost_columns(facts: Facts, order: Sequence[int]) -> list[Column]:
    costs = [facts.costs_of(index) for index in order]
    wants_target = facts.wants_target
    return [
        Column("GiB", [_number(one.peak_memory_gib, ".2f") for one in costs]),
        Column(facts.evidence.metric, [facts.metric_text(one.quality) for one in costs]),
        Column("s to target", [_to_target(one) if wants_target else ABSENT for one in costs],
               is_optional=True),
        Column("J a run", [amount(one.energy_j) for one in costs], is_optional=True),
        Column("money", [amount(one.money) for one in costs], is_optional=True),
    ]  # fmt: skip


def _to_target(costs: Costs) -> str:
    return amount(costs.cost_to_target_s) + "~" * costs.is_predicted


def _speed(timing: Timing | None) -> float:
    return 0.0 if timing is None else timing.samples_per_s


def amount(value: float | None) -> str:
    """Whole numbers from a hundred on; else three digits."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if abs(value) >= 100.0 else f"{value:.3g}"


def _number(value: float | None, form: str) -> str:
    return ABSENT if value is None else format(value, form)
