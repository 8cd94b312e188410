"""The interval around a p99 holds the true one as often as it says, in a queue too."""

import math

import numpy as np
import pytest

from raymi.serve.load.arrivals import poisson
from raymi.serve.tuning.percentile import p99_interval
from raymi.serve.tuning.queueing import Server, simulate

QUEUE = Server(lambda n: 0.01, max_batch_size=1, max_wait_s=0.0, num_replicas=1)


def coverage(draw_runs, truth, *, trials):
    found = [p99_interval([(run, 0) for run in draw_runs(trial)]) for trial in range(trials)]
    return np.mean([one.low <= truth <= one.high for one in found])


def test_independent_times_are_covered_as_often_as_promised():
    draw = np.random.default_rng(0)

    def runs(_):
        return [draw.exponential(size=1000) for _ in range(3)]

    assert coverage(runs, -math.log(0.01), trials=300) >= 0.93


def test_times_of_a_busy_queue_are_covered_about_as_often():
    truth = np.percentile(simulate(poisson(70.0, 20_000.0, seed=1), QUEUE), 99)

    def runs(trial):
        return [simulate(poisson(70.0, 30.0, seed=10 + 3 * trial + k), QUEUE) for k in range(3)]

    assert coverage(runs, truth, trials=200) >= 0.85


def test_times_of_a_busy_queue_count_for_less_than_independent_ones():
    runs = [(simulate(poisson(70.0, 30.0, seed=seed), QUEUE), 0) for seed in range(3)]

    assert p99_interval(runs).design_effect > 3.0


def test_failed_requests_are_infinitely_late():
    nearly = p99_interval([(np.ones(995), 5)])
    too_many = p99_interval([(np.ones(900), 100)])

    assert nearly.value == 1.0
    assert too_many.value == too_many.low == math.inf


def test_few_requests_have_no_upper_limit():
    assert p99_interval([(np.arange(100.0), 0)]).high == math.inf


def test_nothing_has_no_p99():
    assert p99_interval([]) is None
    assert p99_interval([((), 0)]) is None


def test_runs_that_differ_widen_the_interval():
    draw = np.random.default_rng(3)
    alike = [(draw.exponential(size=2000), 0) for _ in range(3)]
    unlike = [
        (scale * np.array(times), 0) for scale, (times, _) in zip((1, 1, 3), alike, strict=True)
    ]

    assert p99_interval(unlike).design_effect > 5 * p99_interval(alike).design_effect


def test_more_confidence_is_a_wider_interval():
    times = [(np.random.default_rng(4).exponential(size=5000), 0)]

    usual, sure = p99_interval(times), p99_interval(times, confidence=0.999)

    assert sure.low <= usual.low < usual.value < usual.high <= sure.high
    assert usual.value == pytest.approx(-math.log(0.01), rel=0.1)
