"""Axes have a few round ticks, whatever their range, and labels that tell them apart."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raymi.charts.ticks import linear_ticks, log_ticks, nice_range, nice_step, widened

SIZES = st.floats(min_value=1e-12, max_value=1e15)
VALUES = st.one_of(st.just(0.0), SIZES, SIZES.map(lambda size: -size))


@st.composite
def ranges(draw):
    low, high = sorted((draw(VALUES), draw(VALUES)))
    return widened(low, high)


def mantissa(value: float) -> float:
    return float(f"{value:.6e}".partition("e")[0])


@given(span=SIZES, target=st.integers(2, 10))
def test_a_step_is_one_two_or_five_times_a_power_of_ten(span, target):
    step = nice_step(span, target=target)

    assert mantissa(step) in (1.0, 2.0, 5.0)
    assert target / 2.5 * (1 - 1e-6) <= span / step <= target * (1 + 1e-6)


@given(ends=ranges())
def test_ticks_are_evenly_spaced_within_the_range(ends):
    low, high = ends
    assume(high - low > 1e-6 * max(abs(low), abs(high)))

    values = linear_ticks(low, high).values

    gaps = [b - a for a, b in pairwise(values)]
    slack = (high - low) * 1e-6
    assert 2 <= len(values) <= 6
    assert low - slack <= values[0]
    assert values[-1] <= high + slack
    assert max(gaps) - min(gaps) <= slack


@given(ends=ranges())
def test_no_two_ticks_have_the_same_label(ends):
    labels = linear_ticks(*ends).labels

    assert len(set(labels)) == len(labels)


@given(low=st.floats(1e-9, 1e9), factor=st.floats(1.05, 1e12))
def test_logarithmic_ticks_ascend_within_the_range_and_are_told_apart(low, factor):
    ticks = log_ticks(low, low * factor)

    assert 2 <= len(ticks.values) <= 12
    assert list(ticks.values) == sorted(set(ticks.values))
    assert low * (1 - 1e-6) <= ticks.values[0]
    assert ticks.values[-1] <= low * factor * (1 + 1e-6)
    assert len(set(ticks.labels)) == len(ticks.labels)


@given(ends=ranges())
def test_a_nice_range_covers_the_values_and_little_more(ends):
    low, high = ends

    begin, end = nice_range(low, high)

    step = nice_step(high - low, target=5)
    assert begin <= low + step * 1e-6
    assert high - step * 1e-6 <= end
    assert (end - begin) - (high - low) <= 2 * step * (1 + 1e-6)


LABELS = [
    (0, 1, ("0.0", "0.2", "0.4", "0.6", "0.8", "1.0")),
    (0, 5000, ("0", "1,000", "2,000", "3,000", "4,000", "5,000")),
    (0, 2_000_000, ("0", "0.5M", "1.0M", "1.5M", "2.0M")),
    (0, 40_000, ("0", "10k", "20k", "30k", "40k")),
    (0, 4e-5, ("0", "1e-5", "2e-5", "3e-5", "4e-5")),
    (-1, 1, ("-1.0", "-0.5", "0.0", "0.5", "1.0")),
]


@pytest.mark.parametrize(("low", "high", "labels"), LABELS)
def test_labels_are_short_and_have_si_prefixes(low, high, labels):
    assert linear_ticks(low, high).labels == labels


def test_whole_numbers_stay_whole():
    assert linear_ticks(1, 3, whole=True).labels == ("1", "2", "3")


def test_a_logarithmic_axis_has_powers_of_ten():
    assert log_ticks(0.01, 1000).labels == ("0.01", "0.1", "1", "10", "100", "1,000")


def test_a_single_value_has_room_on_both_sides():
    low, high = widened(7.0, 7.0)

    assert low < 7.0 < high
    assert math.isclose(7.0 - low, high - 7.0)
