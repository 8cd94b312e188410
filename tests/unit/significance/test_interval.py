"""Intervals around paired ratios agree with order statistics, with scipy, and with arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from raymi.significance.interval import (
    Interval,
    median_interval,
    order_interval,
    paired_ratios,
    ratio_interval,
)

speeds = st.lists(st.floats(1.0, 1e6), min_size=1, max_size=40)


def sample(num_values: int) -> np.ndarray:
    return np.random.default_rng(7).normal(1.0, 0.1, num_values)


def test_the_interval_is_that_of_scipys_bootstrap():
    values = sample(25)

    ours = median_interval(values)
    theirs = stats.bootstrap(
        (values,), np.median, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval

    assert ours.median == np.median(values)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_the_interval_is_close_to_the_exact_one_of_order_statistics():
    # The number of values below the true median is binomial(n, 1/2), whatever they are.
    values = np.sort(sample(41))
    rank = int(stats.binom.ppf(0.025, len(values), 0.5))

    interval = median_interval(values)

    assert interval.low == pytest.approx(values[rank], abs=0.02)
    assert interval.high == pytest.approx(values[len(values) - 1 - rank], abs=0.02)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(3)
    intervals = [median_interval(generator.normal(1.0, 0.02, 20)) for _ in range(200)]

    held = sum(interval.low <= 1.0 <= interval.high for interval in intervals)

    assert 0.90 <= held / len(intervals) <= 1.0


@given(speeds)
def test_a_thing_is_exactly_as_fast_as_itself(values):
    assert ratio_interval(values, values) == Interval(1.0, 1.0, 1.0)


@given(speeds, st.floats(0.1, 10.0))
def test_a_factor_common_to_all_pairs_is_the_ratio(values, factor):
    interval = ratio_interval([factor * value for value in values], values)

    assert (interval.low, interval.median, interval.high) == pytest.approx((factor,) * 3)


def test_what_slows_both_sides_of_a_pair_does_not_show():
    undisturbed, disturbed = [100.0] * 9, [100.0] * 4 + [37.0] * 5

    assert paired_ratios(disturbed, [2 * speed for speed in disturbed]) == pytest.approx(
        paired_ratios(undisturbed, [2 * speed for speed in undisturbed])
    )


def test_a_few_bad_pairs_do_not_move_the_median():
    assert ratio_interval([100.0] * 20 + [1.0, 9999.0], [100.0] * 22).median == 1.0


def test_the_same_measurements_give_the_same_interval():
    assert median_interval(sample(15)) == median_interval(sample(15))


def test_the_distance_from_one_is_that_of_the_further_end():
    assert Interval(1.0, 0.98, 1.01).distance_from_one == pytest.approx(0.02)
    assert Interval(1.0, 0.99, 1.03).distance_from_one == pytest.approx(0.03)


def test_there_is_no_median_of_nothing():
    with pytest.raises(ValueError, match="nothing"):
        median_interval([])


def test_the_interval_by_order_is_that_of_scipys_quantile_test():
    values = sample(25)

    interval = order_interval(values)

    theirs = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert (interval.low, interval.high) == (theirs.low, theirs.high)
    assert interval.median == np.median(values)


@given(st.integers(6, 60))
def test_the_interval_by_order_is_the_shortest_that_holds_the_median_often_enough(num_values):
    interval = order_interval(range(num_values))

    def coverage(rank):
        return 1 - 2 * stats.binom.cdf(rank - 1, num_values, 0.5)

    rank = int(interval.low) + 1
    assert interval.high == num_values - rank
    assert coverage(rank) >= 0.95 > coverage(rank + 1)


def test_six_values_are_enough_for_an_interval_by_order_and_five_are_not():
    assert order_interval([6.0, 1.0, 2.0, 5.0, 3.0, 4.0]) == Interval(3.5, 1.0, 6.0)
    with pytest.raises(ValueError, match="5 values are too few"):
        order_interval([1.0, 2.0, 3.0, 4.0, 5.0])


def test_less_confidence_takes_fewer_values_and_a_narrower_interval():
    assert order_interval([1.0, 2.0, 3.0], confidence=0.5) == Interval(2.0, 1.0, 3.0)
    assert order_interval(range(41), confidence=0.5).low > order_interval(range(41)).low
