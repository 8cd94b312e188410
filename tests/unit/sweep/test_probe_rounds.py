"""Every setting in the race, and the control, has one window in each round; disturbed ones are
repeated once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from raymi.sweep.probe.instruments import Turn
from raymi.sweep.probe.journal import ProbeJournal
from raymi.sweep.probe.rounds import Rounds
from tests.unit.sweep.probe_plans import plan_maker

BUSY = Turn(0.01, 0.6, throttled=False, energy_j=None, peak_gib=None)
HOT = Turn(0.01, None, throttled=True, energy_j=7.0, peak_gib=2.0)
REFERENCE = 3


class MadeUpCrew:
    """Steps take as long as it is told, and everybody is warm from the beginning."""

    def __init__(self, step_s=lambda setting: 0.001, turn=lambda setting, number: None) -> None:
        self._step_s, self._turn = step_s, turn
        self._serials: dict[tuple[int, bool], int] = {}
        self.windows: Counter[tuple[int, bool]] = Counter()
        self.warm_ups: Counter[tuple[int, bool]] = Counter()

    def serial(self, setting: int, *, is_control: bool = False) -> int | None:
        return self._serials.get((setting, is_control))

    def forget(self) -> None:
        self._serials.clear()

    def step(self, setting: int, num_steps: int, *, is_control: bool = False) -> Turn:
        self._serials.setdefault((setting, is_control), sum(self.windows.values()))
        if num_steps == 1:
            self.warm_ups[setting, is_control] += 1
            return Turn(self._step_s(setting), None, throttled=False, energy_j=None, peak_gib=None)
        self.windows[setting, is_control] += 1
        told = self._turn(setting, self.windows[setting, is_control])
        duration_s = self._step_s(setting) * num_steps
        return told or Turn(duration_s, 0.0, throttled=False, energy_j=None, peak_gib=None)


@pytest.fixture(scope="module")
def make_plan(tmp_path_factory):
    return plan_maker(
        tmp_path_factory.mktemp("store"),
        "space={precision: [fp32], batch.micro_batch_size: [4, 8, 16, 32, 64]}",
        "probe.rounds=8",
    )


@pytest.fixture
def race(make_plan, tmp_path):
    """Run the rounds; what is known then."""

    def run(crew: Any, *, out=(), is_over=lambda: False, **fields: Any):
        plan = make_plan(tmp_path, **fields)
        pen = ProbeJournal(tmp_path)
        alive = [setting for setting in plan.settings if setting.index not in out]
        Rounds(plan, crew, pen).run(lambda: alive, is_over)
        return plan, pen.progress()

    return run


def noisy(setting: int, number: int) -> Turn:
    """Never precise, never slower than others."""
    duration_s = 0.01 * (1.0 + 0.05 * (number % 3))
    return Turn(duration_s, 0.0, throttled=False, energy_j=None, peak_gib=None)


def test_each_round_has_one_window_of_everybody_and_of_the_control(race):
    plan, done = race(MadeUpCrew(turn=noisy), rounds=8)

    found = Counter((w.round, w.setting, w.is_control) for w in done.windows)
    everybody = [(setting.index, False) for setting in plan.settings] + [(REFERENCE, True)]
    assert plan.reference == REFERENCE
    assert found == Counter((round_, *one) for round_ in range(8) for one in everybody)


def test_the_order_is_another_in_each_round_and_the_same_for_the_same_seed(race, tmp_path):
    _, done = race(MadeUpCrew(turn=noisy), seed=3)

    orders = [
        tuple((w.setting, w.is_control) for w in done.windows if w.round == number)
        for number in range(8)
    ]
    (tmp_path / "probe.jsonl").unlink()
    _, again = race(MadeUpCrew(turn=noisy), seed=3)
    assert len(set(orders)) > 4
    assert [(w.setting, w.is_control) for w in again.windows] == [
        (w.setting, w.is_control) for w in done.windows
    ]


def test_a_race_in_which_all_is_known_precisely_ends_early(race):
    _, done = race(MadeUpCrew())

    assert done.closed == set(range(6))


def test_whoever_is_clearly_slower_has_four_windows_and_no_more(race):
    _, done = race(MadeUpCrew(step_s=lambda setting: 0.002 if setting in (0, 1) else 0.001))

    counts = Counter(window.setting for window in done.windows if not window.is_control)
    assert counts == {0: 4, 1: 4, 2: 6, 3: 6, 4: 6}


def test_everybody_warms_up_once_until_networks_are_built_anew(race):
    crew = MadeUpCrew()

    race(crew)
    assert set(crew.warm_ups.values()) == {3}

    crew.forget()
    race(crew, rounds=7, window_s=0.02)
    assert set(crew.warm_ups.values()) == {3}  # All rounds were done: nothing to warm up for.


def test_a_disturbed_window_is_kept_and_repeated_once_at_the_end_of_its_round(race):
    def disturb(setting: int, number: int) -> Turn | None:
        return BUSY if setting == 2 and number == 1 else None

    _, done = race(MadeUpCrew(turn=disturb))

    first = [w for w in done.windows if w.round == 0]
    [rejected] = [w for w in first if w.rejected]
    assert (rejected.setting, rejected.rejected) == (2, "other processes used 60% of the CPUs")
    assert (first[-1].setting, first[-1].rejected) == (2, None)


def test_a_window_that_is_disturbed_twice_is_given_up_in_this_round(race):
    def disturb(setting: int, number: int) -> Turn | None:
        return BUSY if setting == 2 and number <= 2 else None

    _, done = race(MadeUpCrew(turn=disturb))

    ours = [window.rejected is None for window in done.windows if window.setting == 2]
    assert ours[:3] == [False, False, True]


def test_on_a_machine_that_is_always_busy_repeats_count(race):
    _, done = race(MadeUpCrew(turn=lambda setting, number: BUSY))

    counted = Counter(window.round for window in done.windows if window.rejected is None)
    assert counted[0] == 6


def test_a_clock_that_is_held_down_by_the_settings_own_work_is_no_disturbance(race):
    _, done = race(MadeUpCrew(turn=lambda setting, number: HOT if setting == 2 else None))

    ours = [window for window in done.windows if window.setting == 2]
    assert [window.rejected is None for window in ours[:3]] == [False, True, True]
    assert (ours[0].energy_j, ours[0].peak_gib) == (7.0, 2.0)


def test_without_the_reference_the_safest_of_the_others_is_the_control(race):
    _, done = race(MadeUpCrew(), out=(REFERENCE,))

    assert {window.setting for window in done.windows if window.is_control} == {0}


def test_at_the_limit_no_further_window_begins(race):
    crew = MadeUpCrew(turn=noisy)

    _, done = race(crew, is_over=lambda: sum(crew.windows.values()) >= 8)

    assert len(done.windows) == 8
    assert done.closed == {0}
