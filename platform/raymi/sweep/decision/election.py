"""The winner among settings that may win, and whether it is confirmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raymi.sweep.decision.contest import Contest
from raymi.sweep.decision.feasibility import Obstacle, obstacle_in_quality, obstacle_to_run
from raymi.sweep.decision.finalists import Prospects
from raymi.sweep.decision.quality import confirm
from raymi.sweep.verdicts import Confirmation, QualityTest, Standing


@dataclass(frozen=True)
class Election:
    """Who won, and who could not."""

    winner: int | None
    best: int | None
    """The best objective of those that may win: the winner, or one of the ties."""

    ties: tuple[int, ...]
    """As good as the best within the noise, without the winner."""

    confirmations: tuple[Confirmation, ...]
    """In the order they were tried; each but the last was refuted."""

    obstacles: Mapping[int, Obstacle]
    """Setting -> why it cannot win."""

    @property
    def is_confirmed(self) -> bool:
        """Whether the winner was confirmed on fresh seeds."""
        return bool(self.confirmations) and self.confirmations[-1].is_confirmed


def elect(contest: Contest, tests: Sequence[QualityTest], prospects: Prospects) -> Election:
    """Choose the best that may win; one that fresh seeds refute makes room for the next.

    Args:
        contest: What was measured.
        tests: Of every way to compute.
        prospects: Who could not win by the probe alone.
    """
    obstacles = _find_obstacles(contest, tests, prospects)
    confirmations: list[Confirmation] = []
    while True:
        able = [s.index for s in contest.case.settings if s.index not in obstacles]
        best = contest.best(able)
        if best is None:
            return Election(None, None, (), tuple(confirmations), obstacles)
        ties = contest.ties(able, best)
        winner = contest.settle(ties)
        numerics = contest.case.settings[winner].numerics
        refuted = _try_to_confirm(contest, numerics, confirmations)
        if refuted is None:
            return Election(
                winner=winner,
                best=best,
                ties=tuple(index for index in ties if index != winner),
                confirmations=tuple(confirmations),
                obstacles=obstacles,
            )
        for setting in contest.case.settings_of(numerics):
            obstacles.setdefault(setting.index, refuted)


def _try_to_confirm(
    contest: Contest, numerics: str, confirmations: list[Confirmation]
) -> Obstacle | None:
    """Note what fresh seeds say; the reference needs no confirmation of its own quality."""
    if numerics == contest.case.reference.numerics:
        return None
    found = confirm(contest.case, numerics)
    if found is None:
        return None
    confirmations.append(found)
    if found.is_confirmed:
        return None
    return Obstacle(Standing.REJECTED, f"not confirmed on fresh seeds: {found.why}")


def _find_obstacles(
    contest: Contest, tests: Sequence[QualityTest], prospects: Prospects
) -> dict[int, Obstacle]:
    by_numerics = {test.numerics: test for test in tests}
    found: dict[int, Obstacle] = {}
    for setting in contest.case.settings:
        obstacle = obstacle_to_run(contest, setting) or obstacle_in_quality(
            contest,
            by_numerics[setting.numerics],
            is_hopeless=setting.numerics in prospects.hopeless,
        )
        if obstacle is None and contest.value(setting.index) is None:
            what = contest.objective.value
            obstacle = Obstacle(Standing.UNKNOWN, f"its {what} was not measured")
        if obstacle is not None:
            found[setting.index] = obstacle
    return found
