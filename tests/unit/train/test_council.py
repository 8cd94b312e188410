"""Workers meet at the same steps, about twice a second, whatever their clocks say."""

import torch

from raymi.train.council import MAX_STEPS_APART, Council


def steps_met(*, seconds_per_step, num_steps):
    council = Council(1, torch.device("cpu"))
    met = []
    for step in range(1, num_steps + 1):
        council.count(seconds_per_step)
        if council.is_due(step):
            council.meet(step, [], is_chief=True)
            met.append(step)
    return met


def test_slow_steps_meet_every_time():
    assert steps_met(seconds_per_step=2.0, num_steps=5) == [1, 2, 3, 4, 5]


def test_fast_steps_meet_about_twice_a_second_after_a_start():
    met = steps_met(seconds_per_step=0.001, num_steps=5000)

    assert met[0] == 1
    assert met[-1] - met[-2] == 500


def test_very_fast_steps_still_meet():
    met = steps_met(seconds_per_step=1e-6, num_steps=10 * MAX_STEPS_APART)

    assert met[-1] - met[-2] == MAX_STEPS_APART


def test_alone_everybody_agrees():
    council = Council(1, torch.device("cpu"))

    assert council.meet(1, [0, 3], is_chief=True) == [0, 3]
