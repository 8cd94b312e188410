"""A contestant takes exactly the steps it was granted, and no end of an epoch is ever timed."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.bench.turnstile import (
    MARGIN_STEPS,
    Course,
    MakeRoom,
    Order,
    Run,
    TurnstileLauncher,
    order_document,
    parse_order,
)
from raymi.train.launcher import SingleProcessLauncher

STEP_S = 0.01
VALIDATION_S = 100.0


class Script:
    """A turnstile that reads its orders from a list."""

    def __init__(self, *orders: Order) -> None:
        self._orders = list(orders)
        self.answers: list[float] = []

    def next_order(self) -> Order | None:
        return self._orders.pop(0) if self._orders else None

    def answer(self, elapsed_s: float) -> None:
        self.answers.append(elapsed_s)


class Loop:
    """Trains on a clock of its own: steps are short, ends of an epoch are long."""

    def __init__(self, script: Script, *, steps_per_epoch: int, asks: str = "before") -> None:
        self.now_s = 0.0
        self.num_steps = 0
        self.num_synchronised = 0
        self._asks = asks
        self._steps_per_epoch = steps_per_epoch
        self._course = Course(
            script,
            steps_per_epoch=steps_per_epoch,
            synchronize=self._synchronize,
            clock=lambda: self.now_s,
        )

    def run(self) -> None:
        if self._asks == "before":
            while not self._course.is_over():
                self._step()
        else:
            self._step(is_first=True)
            while not self._course.is_over():
                self._end_epoch()
                self._step(is_first=True)

    def _step(self, *, is_first: bool = False) -> None:
        self.now_s += STEP_S
        self.num_steps += 1
        if not is_first:
            self._end_epoch()

    def _end_epoch(self) -> None:
        if self.num_steps % self._steps_per_epoch == 0:
            self.now_s += VALIDATION_S

    def _synchronize(self) -> None:
        self.num_synchronised += 1


def test_a_turn_is_the_granted_steps_and_then_it_is_over():
    loop = Loop(Script(Run(2, 5, 1)), steps_per_epoch=100)

    loop.run()

    assert loop.num_steps == 8


def test_only_the_timed_steps_are_timed():
    script = Script(Run(num_warmup_steps=3, num_steps=10, num_cooldown_steps=4))

    Loop(script, steps_per_epoch=100).run()

    assert script.answers == pytest.approx([10 * STEP_S])


def test_the_device_is_waited_for_at_both_ends_of_the_timed_steps():
    loop = Loop(Script(Run(1, 5)), steps_per_epoch=100)

    loop.run()

    assert loop.num_synchronised == 2


@pytest.mark.parametrize("asks", ["before", "after"])
@given(
    steps_per_epoch=st.integers(10, 60),
    turns=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60)), min_size=1, max_size=12),
)
def test_no_end_of_an_epoch_is_timed_wherever_a_loop_asks(asks, steps_per_epoch, turns):
    most = steps_per_epoch - MARGIN_STEPS
    runs = [Run(min(warmup, most - 1), 1) for warmup, _ in turns]
    runs = [
        Run(run.num_warmup_steps, min(num_steps, most - run.num_warmup_steps))
        for run, (_, num_steps) in zip(runs, turns, strict=True)
    ]
    script = Script(*(order for run in runs for order in (MakeRoom(run.total_steps), run)))

    Loop(script, steps_per_epoch=steps_per_epoch, asks=asks).run()

    assert script.answers[1::2] == pytest.approx([run.num_steps * STEP_S for run in runs])


def test_room_is_made_by_running_on_and_at_most_one_epoch_far():
    counts = []
    for position in range(1, 21):
        loop = Loop(Script(Run(0, position), MakeRoom(15)), steps_per_epoch=20)
        loop.run()
        counts.append(loop.num_steps - position)

    assert counts[:3] == [0, 0, 0]
    assert counts[3:] == list(range(17, 0, -1))
    assert all(later <= earlier for earlier, later in pairwise(counts[3:]))


@pytest.mark.parametrize("order", [MakeRoom(7), Run(1, 2, 3)])
def test_an_order_survives_the_wire(order):
    assert parse_order(order_document(order)) == order


def test_a_launcher_behind_a_turnstile_is_otherwise_the_launcher_it_was():
    inner = SingleProcessLauncher()
    course = Course(Script(Run(0, 1)), steps_per_epoch=9, synchronize=lambda: None)
    launcher = TurnstileLauncher(inner, course)

    launcher.report({"loss": 1.0})

    assert (launcher.rank, launcher.world_size, launcher.device) == (0, 1, inner.device)
    assert inner.reports == [{"loss": 1.0}]
    assert [launcher.interrupted() for _ in range(3)] == [False, True, True]


def test_what_the_inner_launcher_wants_comes_first():
    course = Course(Script(), steps_per_epoch=9, synchronize=lambda: None)
    launcher = TurnstileLauncher(SingleProcessLauncher(stop_after_steps=1), course)

    assert launcher.interrupted()
