"""Rounds of timed windows, in random order, until everybody is known or the rounds are over."""

from __future__ import annotations

import random
from collections.abc import Callable

from raymi.sweep.evidence import Window
from raymi.sweep.probe import journal, race
from raymi.sweep.probe.crew import Crew
from raymi.sweep.probe.disturbance import verdict
from raymi.sweep.probe.instruments import Turn
from raymi.sweep.probe.journal import ProbeJournal
from raymi.sweep.probe.plan import ProbePlan
from raymi.sweep.setting import Setting

_FEWEST_WARM_UP_STEPS = 3
_MOST_WARM_UP_STEPS = 20
_SETTLE_S = 1.0
"""Warm-up of a slow setting ends after so long, steady or not."""

_SEED_STRIDE = 1_000_003


class Rounds:
    """The first worker's part in them."""

    def __init__(self, plan: ProbePlan, crew: Crew, pen: ProbeJournal) -> None:
        self._plan = plan
        self._crew = crew
        self._journal = pen
        self._step_s: dict[tuple[int, bool], tuple[int | None, float]] = {}
        """Who was warmed up: its network's serial number, and seconds of a step."""

        self._hot: set[int] = set()
        """Settings whose own work holds the clock down."""

    def run(self, alive: Callable[[], list[Setting]], is_over: Callable[[], bool]) -> None:
        """Do the rounds that are not done yet.

        Args:
            alive: Settings that nothing speaks against so far.
            is_over: Whether to stop between two windows.
        """
        samples = {s.index: s.global_batch_size for s in self._plan.settings}
        while True:
            done = self._journal.progress()
            runners = [setting for setting in alive() if setting.index not in done.dropped]
            racing = {setting.index for setting in runners}
            by_round = race.speeds((w for w in done.windows if w.setting in racing), samples)
            number = len(done.closed)
            if number >= self._plan.spec.rounds or not runners or is_over():
                return
            if racing <= by_round.keys() and race.is_over(by_round):
                return
            if not self._run_round(number, runners, is_over):
                return
            windows = [w for w in self._journal.progress().windows if w.setting in racing]
            dropped = self._to_drop(race.speeds(windows, samples), runners)
            self._journal.note(journal.ROUND, round=number, dropped=sorted(dropped))

    def _to_drop(self, by_round: race.Speeds, runners: list[Setting]) -> set[int]:
        """Who has lost, among those with as many workers: fewer may be slower and cheaper."""
        control = _control(self._plan, runners)
        rivals: dict[int, dict[str, list[int]]] = {}
        # The reference's numerics come first among theirs.
        for setting in sorted(runners, key=lambda s: s.numerics != control.numerics):
            groups = rivals.setdefault(setting.num_workers, {})
            groups.setdefault(setting.numerics, []).append(setting.index)
        dropped: set[int] = set()
        for num_workers, groups in rivals.items():
            dropped |= race.to_drop(
                by_round,
                groups.values(),
                protected={control.index},
                keeps_slow=self._plan.keeps_slow or num_workers != control.num_workers,
            )
        return dropped

    def _run_round(self, number: int, runners: list[Setting], is_over: Callable[[], bool]) -> bool:
        """One window of each, in random order; whether it was completed."""
        turns = [(setting, False) for setting in runners]
        turns.append((_control(self._plan, runners), True))
        order = random.Random(self._plan.seed * _SEED_STRIDE + number)  # noqa: S311 - no secret
        order.shuffle(turns)
        again: list[tuple[Setting, bool]] = []
        for setting, is_control in turns:
            if is_over():
                return False
            if self._window(number, setting, is_control=is_control) is not None:
                again.append((setting, is_control))
        # A machine that is busy all the time disturbs all windows alike: then they count.
        is_always_busy = 2 * len(again) > len(turns)
        for setting, is_control in again:
            if is_over():
                return False
            self._window(
                number, setting, is_control=is_control, is_repeat=True, counts=is_always_busy
            )
        return True

    def _window(
        self,
        number: int,
        setting: Setting,
        *,
        is_control: bool,
        is_repeat: bool = False,
        counts: bool = False,
    ) -> str | None:
        """Time one window, after a warm-up if it is the first; why it does not count.

        Args:
            number: Of the round.
            setting: What is timed.
            is_control: Whether it is the reference's twin.
            is_repeat: Whether its window of this round did not count.
            counts: It does, whatever happens meanwhile.
        """
        self._journal.looking([setting])
        step_s = self._warm_up(setting, is_control=is_control)
        num_steps = max(1, round(self._plan.spec.window_s / step_s))
        turn = self._crew.step(setting.index, num_steps, is_control=is_control)
        serial = self._crew.serial(setting.index, is_control=is_control)
        self._step_s[setting.index, is_control] = serial, turn.duration_s / num_steps
        rejected = None if counts else self._verdict(setting, turn, is_repeat=is_repeat)
        window = Window(
            setting=setting.index,
            is_control=is_control,
            round=number,
            num_steps=num_steps,
            duration_s=turn.duration_s,
            rejected=rejected,
            energy_j=turn.energy_j,
            peak_gib=turn.peak_gib,
        )
        self._journal.measured(
            journal.WINDOW, window, foreign_share=turn.foreign_share, throttled=turn.throttled
        )
        return rejected

    def _verdict(self, setting: Setting, turn: Turn, *, is_repeat: bool) -> str | None:
        if turn.throttled and is_repeat:
            # Twice in a round is no accident: heavy work draws all the power there is.
            self._hot.add(setting.index)
        throttled = turn.throttled and setting.index not in self._hot
        return verdict(turn.foreign_share, throttled=throttled)

    def _warm_up(self, setting: Setting, *, is_control: bool) -> float:
        """Step until steps are steady; seconds of one. Once for each network and micro-batch."""
        serial = self._crew.serial(setting.index, is_control=is_control)
        known = self._step_s.get((setting.index, is_control))
        if known is not None and serial is not None and known[0] == serial:
            return known[1]
        taken: list[float] = []
        while len(taken) < _FEWEST_WARM_UP_STEPS or not (
            race.is_steady(taken) or sum(taken) > _SETTLE_S or len(taken) >= _MOST_WARM_UP_STEPS
        ):
            taken.append(self._crew.step(setting.index, 1, is_control=is_control).duration_s)
        return min(taken)


def _control(plan: ProbePlan, runners: list[Setting]) -> Setting:
    """Whose twin measures noise: the reference's; if that does not run, the safest setting's."""
    for setting in runners:
        if setting.index == plan.reference:
            return setting
    return min(runners, key=lambda setting: setting.safety)
