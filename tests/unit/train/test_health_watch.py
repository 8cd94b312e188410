"""A run that goes wrong is told from one that is only noisy."""

import math

import numpy as np
import pytest

from raymi.specs.health import HealthSpec
from raymi.train.failure import Reason
from raymi.train.health_watch import INITIAL_SCALE, HealthWatch


def verdict(losses, *, spec=None, num_bad_steps=0, loss_scale=None):
    watch = HealthWatch(spec or HealthSpec())
    return watch.observe(losses, num_bad_steps=num_bad_steps, loss_scale=loss_scale)


def falling(num_steps, noise=0.0):
    draw = np.random.default_rng(0)
    curve = 2.0 * np.exp(-np.arange(num_steps) / 50) + 0.1
    return list(curve * (1.0 + noise * draw.standard_normal(num_steps)))


def test_a_falling_loss_is_healthy():
    assert verdict(falling(500)) is None


def test_a_noisy_falling_loss_is_healthy():
    assert verdict(falling(500, noise=0.5)) is None


def test_one_wild_batch_is_no_spike():
    losses = falling(300)
    losses[150] = 50.0

    assert verdict(losses) is None


def test_a_loss_that_stays_high_above_its_start_is_a_spike():
    assert verdict(falling(200) + [9.0] * 60) is Reason.LOSS_SPIKE


def test_rising_from_almost_nothing_but_below_the_start_is_no_spike():
    assert verdict([1.0] * 20 + [1e-6] * 100 + [0.5] * 100) is None


def test_without_a_limit_nothing_is_a_spike():
    spec = HealthSpec(max_loss_growth=None)

    assert verdict(falling(200) + [9.0] * 60, spec=spec) is None


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_has_diverged(loss):
    assert verdict([1.0, loss]) is Reason.DIVERGED


def test_bad_gradients_are_tolerated_up_to_the_limit():
    spec = HealthSpec(max_bad_steps=3)

    assert verdict([1.0], spec=spec, num_bad_steps=2) is None
    assert verdict([1.0], spec=spec, num_bad_steps=3) is Reason.BAD_GRADIENTS


def test_the_scale_may_halve_as_often_as_bad_steps_are_allowed():
    spec = HealthSpec(max_bad_steps=4)

    assert verdict([1.0], spec=spec, loss_scale=INITIAL_SCALE / 16) is None
    assert verdict([1.0], spec=spec, loss_scale=INITIAL_SCALE / 32) is Reason.SCALE_COLLAPSE
