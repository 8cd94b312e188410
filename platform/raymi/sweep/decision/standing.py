"""Where each setting ended, with one clause that says why."""

from __future__ import annotations

from raymi.specs.sweep import Objective
from raymi.sweep.decision.contest import Contest
from raymi.sweep.decision.election import Election
from raymi.sweep.decision.front import front_of
from raymi.sweep.decision.words import quality_text, times_of
from raymi.sweep.evidence import Purpose
from raymi.sweep.verdicts import Standing, Verdict


def list_verdicts(contest: Contest, election: Election) -> tuple[Verdict, ...]:
    """What the decision says about every setting, in order."""
    front = _front(contest)
    return tuple(
        Verdict(
            setting=setting.index,
            standing=standing,
            why=why,
            on_front=setting.index in front,
        )
        for setting in contest.case.settings
        for standing, why in [_stand(contest, election, setting.index)]
    )


def why_preferred(contest: Contest, winner: int, other: int) -> str:
    """What settled a tie, as an adjective."""
    ours, theirs = contest.case.settings[winner], contest.case.settings[other]
    if ours.precision is not theirs.precision:
        return "safer"
    if ours.num_workers != theirs.num_workers:
        return "on fewer workers"
    if not contest.costs_alike(winner, other):
        return "cheaper"
    if ours.micro_batch_size != theirs.micro_batch_size:
        return "smaller in its micro-batch"
    if ours.numerics == contest.case.reference.numerics != theirs.numerics:
        return "what the reference computes"
    return "first in the space"


def _front(contest: Contest) -> set[int]:
    """Of the settings that run and, if they were trained, trained to the end."""
    case = contest.case
    ran = [
        costs
        for costs in contest.costs
        if costs.setting not in case.dead
        and contest.speeds.is_timed(costs.setting)
        and not case.failed(case.settings[costs.setting].numerics, Purpose.QUALITY)
    ]
    return front_of(ran, higher_is_better=case.evidence.higher_is_better)


def _stand(contest: Contest, election: Election, index: int) -> tuple[Standing, str]:
    if index == election.winner:
        return Standing.WINNER, _why_winner(contest, election)
    if index in election.obstacles:
        obstacle = election.obstacles[index]
        if obstacle.standing is Standing.UNKNOWN and (
            why := _why_no_better(contest, election, index)
        ):
            return Standing.BEATEN, f"whatever its quality: {why}"
        return obstacle.standing, obstacle.why
    if election.winner is None:
        return Standing.UNKNOWN, "nobody won"
    if index in election.ties:
        reason = why_preferred(contest, election.winner, index)
        return Standing.TIE, f"as good as the winner within the noise; the winner is {reason}"
    return Standing.BEATEN, _behind(contest, index, election.winner)


def _why_no_better(contest: Contest, election: Election, index: int) -> str | None:
    """Why the winner would have won against one of unknown quality; None: it might have lost."""
    winner, best = election.winner, election.best
    is_about_quality = contest.objective in (Objective.QUALITY, Objective.COST_TO_TARGET)
    if winner is None or best is None or is_about_quality or contest.value(index) is None:
        return None
    if contest.is_tie(index, best):
        if contest.settle([best, winner, *election.ties, index]) == index:
            return None
        return f"within the noise of the winner, which is {why_preferred(contest, winner, index)}"
    is_better = contest.advantage(index, best).median > 1.0
    return None if is_better else _behind(contest, index, winner)


def _why_winner(contest: Contest, election: Election) -> str:
    name = contest.objective.value
    if not election.ties:
        return f"the best {name}"
    settled = sorted({why_preferred(contest, _winner(election), tie) for tie in election.ties})
    return f"no {name} is better beyond the noise; {' and '.join(settled)}"


def _behind(contest: Contest, index: int, winner: int) -> str:
    if contest.objective is not Objective.QUALITY:
        return (
            f"{times_of(contest.objective, contest.advantage(index, winner).median)} of the winner"
        )
    ours, theirs = contest.value(index) or 0.0, contest.value(winner) or 0.0
    return f"{contest.case.evidence.metric} {quality_text(ours)} against {quality_text(theirs)}"


def _winner(election: Election) -> int:
    if election.winner is None:
        raise ValueError("nobody won")
    return election.winner
