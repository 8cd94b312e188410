"""The interval of any statistic's difference, against closed forms and the clock."""

import time

import numpy as np
import pytest

from raymi.significance.bootstrap import paired_bootstrap

generator = np.random.default_rng(1)


def ece(confidence, correct):
    bins = np.minimum((confidence * 15).astype(int), 14)
    surplus = np.bincount(bins, weights=confidence - correct, minlength=15)
    return float(np.abs(surplus).sum() / len(bins))


def calibrated(num_rows, *, overconfident=0.0):
    confidence = generator.uniform(0.5, 0.9, (3, num_rows))
    correct = generator.random((3, num_rows)) < confidence
    return confidence + overconfident, correct.astype(float)


def test_of_a_mean_over_rows_it_is_the_normal_interval():
    rows = np.tile(generator.normal(0.0, 1.0, 4000), (3, 1))
    noise = np.tile(generator.normal(0.1, 0.5, 4000), (3, 1))

    low, high = paired_bootstrap(np.mean, [rows + noise], [rows], num_resamples=2000)

    half = 1.96 * noise[0].std() / np.sqrt(4000)
    assert (low, high) == pytest.approx((noise.mean() - half, noise.mean() + half), abs=0.002)


def test_seeds_that_differ_widen_it():
    seeds = np.array([[-1.0], [0.0], [1.0]]) + np.zeros((3, 200))

    low, high = paired_bootstrap(np.mean, [seeds], [np.zeros((3, 200))])

    assert (low, high) == (-1.0, 1.0)


def test_a_side_compared_with_itself_does_not_differ():
    side = calibrated(100)

    assert paired_bootstrap(ece, side, side, num_resamples=20) == (0.0, 0.0)


def test_worse_calibration_shows():
    low, high = paired_bootstrap(ece, calibrated(3000, overconfident=0.1), calibrated(3000))

    assert 0.05 < low < high < 0.11


def test_the_same_seed_gives_the_same_interval():
    sides = calibrated(50), calibrated(50)

    assert paired_bootstrap(ece, *sides, seed=3) == paired_bootstrap(ece, *sides, seed=3)
    assert paired_bootstrap(ece, *sides, seed=3) != paired_bootstrap(ece, *sides, seed=4)


def test_it_takes_about_a_second_for_ten_thousand_rows():
    sides = calibrated(10_000), calibrated(10_000)
    before = time.process_time()

    paired_bootstrap(ece, *sides, num_resamples=500)

    assert time.process_time() - before < 5.0
