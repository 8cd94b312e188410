"""The decision: from everything that was measured to who won, with nothing else known.

The same evidence gives the same decision on every machine: no clock, no files, nothing random.
"""

from __future__ import annotations

from dataclasses import dataclass

from raymi.sweep.decision.contest import Contest, enter
from raymi.sweep.decision.election import Election, elect
from raymi.sweep.decision.finalists import Prospects, assess
from raymi.sweep.decision.findings import list_findings
from raymi.sweep.decision.memory import list_memory_models
from raymi.sweep.decision.quality import list_tests
from raymi.sweep.decision.sentence import Story, write_sentence
from raymi.sweep.decision.serving import serving_batch_sizes
from raymi.sweep.decision.speed import list_timings
from raymi.sweep.decision.standing import list_verdicts
from raymi.sweep.decision.target import critical_batch_size
from raymi.sweep.evidence import Evidence, Purpose, RunStatus
from raymi.sweep.verdicts import Decision, QualityTest


def decide(evidence: Evidence) -> Decision:
    """Say who wins, and why."""
    held = _hold(evidence)
    case, election = held.contest.case, held.election
    story = Story(held.contest, held.tests, held.prospects, election)
    winner = None if election.winner is None else case.settings[election.winner]
    return Decision(
        winner=election.winner,
        ties=election.ties,
        noise_floor=held.contest.speeds.noise_floor,
        timings=list_timings(case, held.contest.speeds),
        memory_models=list_memory_models(case),
        critical_batch_size=critical_batch_size(case),
        tests=held.tests,
        findings=list_findings(case),
        confirmations=election.confirmations,
        costs=tuple(held.contest.costs),
        verdicts=list_verdicts(held.contest, election),
        serving_batch_sizes=() if winner is None else serving_batch_sizes(case, winner),
        sentence=write_sentence(story),
    )


def provisional_winner(evidence: Evidence) -> int | None:
    """Who would win if nothing more were measured, confirmed or not; None: nobody."""
    return _hold(evidence).election.winner


def next_to_confirm(evidence: Evidence) -> str | None:
    """The numerics of the winner, if fresh seeds have still to confirm them; None: all is said."""
    held = _hold(evidence)
    case, winner = held.contest.case, held.election.winner
    if winner is None or not case.num_rows(Purpose.CONFIRMATION):
        return None
    numerics = case.settings[winner].numerics
    if numerics == case.reference.numerics:
        return None
    ended = [
        run
        for run in case.runs(numerics, Purpose.CONFIRMATION)
        if run.status is not RunStatus.STOPPED
    ]
    return None if len(ended) >= case.spec.quality.confirm_seeds else numerics


@dataclass(frozen=True)
class _Held:
    """An election, with what it was held on."""

    contest: Contest
    tests: tuple[QualityTest, ...]
    prospects: Prospects
    election: Election


def _hold(evidence: Evidence) -> _Held:
    contest = enter(evidence)
    prospects = assess(contest)
    tests = list_tests(contest.case, prospects.hopeless)
    return _Held(contest, tests, prospects, elect(contest, tests, prospects))
