"""A sweep says how far it is whenever a trial has ended."""

import itertools

from raymi.sweep.countdown import Countdown

FINISHED = {"event": "finished"}
GAVE_UP = {"event": "failure", "policy": "stop"}
TRIES_AGAIN = {"event": "failure", "policy": "retry"}


def ticking(*, seconds: float):
    """A clock that moves by the same amount each time it is read."""
    return itertools.count(step=seconds).__next__


def test_the_time_left_follows_from_the_trials_that_are_done():
    countdown = Countdown(4, clock=ticking(seconds=20))

    assert countdown(FINISHED) == "1 of 4 trials done, about 1m00s left"


def test_a_trial_that_gave_up_is_done_too():
    countdown = Countdown(2, clock=ticking(seconds=20))

    assert countdown(GAVE_UP) == "1 of 2 trials done, about 20s left"


def test_a_trial_that_tries_again_is_not_done():
    assert Countdown(2, clock=ticking(seconds=1))(TRIES_AGAIN) is None


def test_after_the_last_trial_there_is_nothing_to_say():
    assert Countdown(1, clock=ticking(seconds=1))(FINISHED) is None
