"""Why the winner won, or why nobody did, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raymi.specs.sweep import Objective
from raymi.sweep.decision.contest import Contest
from raymi.sweep.decision.election import Election
from raymi.sweep.decision.finalists import Prospects
from raymi.sweep.decision.standing import why_preferred
from raymi.sweep.decision.words import listed, quality_text, times_of
from raymi.sweep.setting import Setting
from raymi.sweep.verdicts import Outcome, QualityTest, Standing

_FORMS = {
    Objective.SAMPLES_PER_S: "samples_per_s {:,.0f}",
    Objective.COST_TO_TARGET: "{:,.1f} accelerator-s to the target",
    Objective.ENERGY: "{:,.0f} J for a whole run",
    Objective.MONEY: "{:.4g} for a whole run",
    Objective.PEAK_MEMORY_GIB: "{:.2f} GiB at its peak",
}
_PASSED = (Outcome.REFERENCE, Outcome.NOT_WORSE)


@dataclass(frozen=True)
class Story:
    """Everything that a sentence may mention."""

    contest: Contest
    tests: Sequence[QualityTest]
    prospects: Prospects
    election: Election


def write_sentence(story: Story) -> str:
    """The whole of it, honest about what was not tested and not confirmed."""
    winner = story.election.winner
    if winner is None:
        parts = [_nobody(story)]
    else:
        setting = story.contest.case.settings[winner]
        claims = [_value(story, setting), _against(story, setting), _quality(story, setting)]
        claims.append(_confirmation(story, setting))
        parts = [f"{setting.label} wins: {', '.join(claim for claim in claims if claim)}"]
        parts += _ties(story, setting)
    parts += _refuted(story)
    parts += _refused(story)
    if (why := story.contest.case.evidence.spending.why_cut_short) is not None:
        parts.append(f"the sweep was cut short: {why}")
    return "; ".join(parts)


def _value(story: Story, setting: Setting) -> str:
    contest = story.contest
    value = contest.value(setting.index)
    if contest.objective is Objective.QUALITY or value is None:
        return ""
    text = _FORMS[contest.objective].format(value)
    speed = contest.speeds.of(setting.index)
    if contest.objective is Objective.SAMPLES_PER_S and speed is not None:
        text += f" (95% {speed.low:,.0f}-{speed.high:,.0f})"
    return text


def _against(story: Story, setting: Setting) -> str:
    """How much better than the reference."""
    contest = story.contest
    reference = contest.case.reference
    if setting.index == reference.index:
        return "which is the reference itself"
    if contest.objective is Objective.QUALITY or contest.value(reference.index) is None:
        return ""
    times = contest.advantage(setting.index, reference.index).median
    return f"{times_of(contest.objective, times)} of the reference"


def _quality(story: Story, setting: Setting) -> str:
    case = story.contest.case
    test = _test(story, setting.numerics)
    metric, reference = case.evidence.metric, case.quality(case.reference.numerics)
    if setting.numerics == case.reference.numerics:
        if reference is None:
            return "computing as the reference does, of which nothing was trained"
        what = f"{metric} {quality_text(reference)} over {_count(test.num_seeds, 'seed')}"
        if setting.index == case.reference.index:
            return what
        return f"computing as the reference does ({what})"
    rows = f"{_count(test.num_seeds, 'seed')} x {test.num_rows:,} rows"
    what = f"{metric} {quality_text(test.quality or 0.0)} against {quality_text(reference or 0.0)}"
    if test.outcome is Outcome.NOT_WORSE:
        bound = f"lower bound {test.lower_bound or 0.0:+.4f}"
        return f"{what}, not worse by more than {case.margin:g} ({bound}, {rows})"
    return f"{what} ({rows}; {test.why})"


def _confirmation(story: Story, setting: Setting) -> str:
    case = story.contest.case
    if setting.numerics == case.reference.numerics:
        return ""
    if not story.election.is_confirmed:
        return "not confirmed on fresh seeds"
    found = story.election.confirmations[-1]
    seeds = _count(found.num_seeds, "fresh seed")
    return f"confirmed on {seeds} and {found.num_rows:,} untouched rows"


def _ties(story: Story, setting: Setting) -> list[str]:
    contest, ties = story.contest, story.election.ties
    if not ties:
        return []
    names = listed([contest.case.settings[index].label for index in ties])
    noise = contest.speeds.noise_floor
    by_speed = contest.objective not in (Objective.QUALITY, Objective.PEAK_MEMORY_GIB)
    size = f" of {noise:.1%}" if by_speed and noise is not None else ""
    reasons = {why_preferred(contest, setting.index, index) for index in ties}
    return [f"tie with {names} within the noise{size}, settled for what is {_and(reasons)}"]


def _refuted(story: Story) -> list[str]:
    return [
        f"{one.numerics} was not confirmed: {one.why}"
        for one in story.election.confirmations
        if not one.is_confirmed
    ]


def _refused(story: Story) -> list[str]:
    """Those that could have won, had they passed; several of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for test in story.tests:
        if test.outcome not in _PASSED and test.numerics in story.prospects.hopeful:
            by_reason.setdefault(test.why, []).append(test.numerics)
    return [f"{listed(names)}: {why}" for why, names in list(by_reason.items())[:2]]


def _nobody(story: Story) -> str:
    obstacles = story.election.obstacles
    counts: Mapping[Standing, int] = {
        standing: sum(one.standing is standing for one in obstacles.values())
        for standing in Standing
    }
    told = {
        Standing.FAILED: "cannot run here",
        Standing.INFEASIBLE: "break a constraint",
        Standing.REJECTED: "are not shown to be good enough",
        Standing.UNKNOWN: "were not measured enough to say",
        Standing.BEATEN: "are too slow",
    }
    parts = [f"{counts[standing]} {what}" for standing, what in told.items() if counts[standing]]
    text = f"nobody wins: of {_count(len(obstacles), 'setting')} {', '.join(parts)}"
    reference = obstacles.get(story.contest.case.reference.index)
    return f"{text}; the reference: {reference.why}" if reference else text


def _test(story: Story, numerics: str) -> QualityTest:
    return next(test for test in story.tests if test.numerics == numerics)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _and(reasons: set[str]) -> str:
    return listed(sorted(reasons))
