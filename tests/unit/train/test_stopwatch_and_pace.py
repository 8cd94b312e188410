"""Throughput leaves out what is not training; progress and checkpoints come at their time."""

import pytest

from raymi.specs.train import CheckpointSpec
from raymi.train.pace import Pace
from raymi.train.throughput import Stopwatch, warmup_steps


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def stopwatch(clock: Clock, *, warmup: int = 0) -> Stopwatch:
    return Stopwatch(warmup_steps=warmup, synchronize=lambda: None, clock=clock)


def pace(clock: Clock, *, start: int = 0, **spec: int) -> Pace:
    return Pace(CheckpointSpec(**spec), total_steps=100, start=start, clock=clock)


def test_samples_are_divided_by_the_seconds_they_took(clock):
    watch = stopwatch(clock)

    watch.resume()
    clock.advance(2.0)
    watch.count(100)

    assert watch.samples_per_s == 50.0


def test_pauses_do_not_count(clock):
    watch = stopwatch(clock)

    watch.resume()
    clock.advance(1.0)
    watch.count(10)
    watch.pause()
    clock.advance(60.0)
    watch.resume()
    clock.advance(1.0)
    watch.count(10)

    assert watch.samples_per_s == 10.0


def test_the_warm_up_does_not_count(clock):
    watch = stopwatch(clock, warmup=1)

    watch.resume()
    clock.advance(30.0)
    watch.count(10)
    clock.advance(1.0)
    watch.count(10)

    assert watch.samples_per_s == 10.0


def test_nothing_measured_is_zero(clock):
    assert stopwatch(clock).samples_per_s == 0.0


def test_a_run_too_short_for_a_warm_up_counts_everything():
    assert warmup_steps(3) == 0


def test_the_eta_follows_the_pace_of_this_attempt(clock):
    resumed = pace(clock, start=50)

    clock.advance(10.0)

    assert resumed.eta_s(75) == pytest.approx(10.0)


def test_progress_is_due_once_a_second(clock):
    running = pace(clock)

    clock.advance(1.5)

    assert [running.is_progress_due(), running.is_progress_due()] == [True, False]


def test_short_epochs_are_not_all_saved(clock):
    running = pace(clock)

    clock.advance(9.0)
    early = running.is_epoch_checkpoint_due(10)
    clock.advance(2.0)
    due = running.is_epoch_checkpoint_due(20)
    running.saved()

    assert (early, due, running.is_epoch_checkpoint_due(30)) == (False, True, False)


def test_the_end_of_the_run_needs_no_checkpoint(clock):
    running = pace(clock)

    clock.advance(60.0)

    assert not running.is_epoch_checkpoint_due(100)


def test_steps_are_saved_where_the_spec_says(clock):
    running = pace(clock, every_steps=30)

    assert [step for step in range(1, 100) if running.is_step_checkpoint_due(step)] == [30, 60, 90]
