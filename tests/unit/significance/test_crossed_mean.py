"""The mean over seeds and rows: textbook variance parts, special cases by scipy, exact levels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from raymi.significance.crossed import Spread, crossed_mean

tables = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(2, 12)),
    elements=st.sampled_from([-1.0, 0.0, 0.0, 0.5, 1.0]),
)
MANY_ROWS = 1_000_000


def draw(num_seeds, num_rows, *, seeds, rows, rest, generator):
    return (
        seeds * generator.normal(size=(num_seeds, 1))
        + rows * generator.normal(size=num_rows)
        + rest * generator.normal(size=(num_seeds, num_rows))
    )


def residual_square(values, design):
    fit, *_ = np.linalg.lstsq(design, values.ravel(), rcond=None)
    return float(np.sum(np.square(values.ravel() - design @ fit)))


@given(tables)
def test_its_parts_are_those_of_the_analysis_of_variance(values):
    num_seeds, num_rows = values.shape
    mean = crossed_mean(values)
    seed, row = (index.ravel() for index in np.indices(values.shape))
    seeds, rows = np.eye(num_seeds)[seed], np.eye(num_rows)[row]
    rest = residual_square(values, np.hstack([seeds, rows]))

    # What a factor explains is what leaving it out adds to the residual.
    by_row = (residual_square(values, seeds) - rest) / (num_rows - 1)
    assert mean.mean == pytest.approx(values.mean())
    assert mean.spread.row_part * values.size == pytest.approx(by_row, abs=1e-9)
    if num_seeds > 1:
        by_seed = (residual_square(values, rows) - rest) / (num_seeds - 1)
        remaining = rest / ((num_seeds - 1) * (num_rows - 1))
        assert mean.spread.seed_part * values.size == pytest.approx(by_seed, abs=1e-9)
        assert mean.spread.shared_part * values.size == pytest.approx(remaining, abs=1e-9)


def test_its_standard_error_is_the_spread_of_such_means():
    generator = np.random.default_rng(2)
    means = [
        crossed_mean(draw(4, 30, seeds=0.3, rows=1.0, rest=1.0, generator=generator))
        for _ in range(1500)
    ]

    spread = np.std([mean.mean for mean in means])
    estimated = np.sqrt(np.mean([mean.standard_error**2 for mean in means]))
    # A little above: no part may be negative.
    assert spread * 0.98 < estimated < spread * 1.15


@given(tables)
def test_its_standard_error_is_never_below_what_seeds_or_rows_alone_make_it(values):
    mean = crossed_mean(values)

    assert mean.standard_error >= np.sqrt(mean.spread.row_part)
    assert mean.standard_error >= np.sqrt(mean.spread.seed_part) - 1e-12


def test_of_one_seed_and_symmetric_rows_it_is_students_test():
    half = np.random.default_rng(0).normal(0.0, 1.0, 15)
    values = 0.2 + np.concatenate([half, -half])[None, :]

    mean = crossed_mean(values)

    theirs = stats.ttest_1samp(values[0], 0.0, alternative="greater")
    assert mean.p_value() == pytest.approx(theirs.pvalue)
    assert mean.lower_bound(0.9) == pytest.approx(theirs.confidence_interval(0.9).low)


def test_of_rows_that_are_alike_it_is_students_test_over_seeds():
    seeds = np.array([0.3, 0.1, 0.5, 0.2])
    values = seeds[:, None] + np.zeros((4, 50))

    mean = crossed_mean(values)

    theirs = stats.ttest_1samp(seeds, 0.0, alternative="greater")
    both = stats.ttest_1samp(seeds, 0.0)
    assert mean.p_value() == pytest.approx(theirs.pvalue)
    assert mean.two_sided_p() == pytest.approx(both.pvalue)
    assert mean.upper_bound(0.975) == pytest.approx(both.confidence_interval(0.95).high)


@pytest.mark.parametrize("num_lost", [20, 28, 35])
def test_of_rare_losses_it_is_the_test_with_the_variance_under_the_null(num_lost):
    """Score test of a share: the variance is that of the share tested, not of the one seen."""
    num_rows, margin = 4000, 0.01
    values = np.zeros((1, num_rows))
    values[0, :num_lost] = -1.0

    p_value = crossed_mean(values).p_value(-margin)

    error = np.sqrt(margin * (1 - margin) / num_rows)
    score = (margin - num_lost / num_rows) / error
    assert p_value == pytest.approx(stats.norm.sf(score), rel=0.03)


@given(tables, st.floats(-1.0, 1.0))
def test_mirrored_values_give_the_mirrored_statement(values, null):
    mean, mirrored = crossed_mean(values), crossed_mean(-values)

    assert mirrored.lower_bound(0.95) == pytest.approx(-mean.upper_bound(0.95))
    assert mirrored.p_value(-null) == pytest.approx(1.0 - mean.p_value(null), abs=1e-9)
    assert mirrored.two_sided_p(-null) == pytest.approx(mean.two_sided_p(null), abs=1e-9)


@given(tables, st.sampled_from([0.6, 0.9, 0.95, 0.999]))
def test_the_p_value_at_a_bound_is_one_minus_its_confidence(values, confidence):
    mean = crossed_mean(values, variance_floor=0.1)

    assert mean.p_value(mean.lower_bound(confidence)) == pytest.approx(1 - confidence)
    assert mean.p_value(mean.upper_bound(confidence)) == pytest.approx(confidence)


@given(tables, st.floats(-2.0, 2.0), st.floats(0.0, 1.0))
def test_the_p_value_rises_with_what_is_tested(values, null, step):
    mean = crossed_mean(values)

    assert mean.p_value(null) <= mean.p_value(null + step) + 1e-12


@pytest.mark.parametrize("num_seeds", [1, 2, 3])
def test_values_without_variance_are_certain_unless_they_are_the_null(num_seeds):
    mean = crossed_mean(np.full((num_seeds, 10), 0.25))

    assert mean.standard_error == 0.0
    assert mean.lower_bound(0.95) == mean.upper_bound(0.95) == 0.25
    assert (mean.p_value(0.0), mean.p_value(0.25), mean.p_value(1.0)) == (0.0, 0.5, 1.0)
    assert (mean.two_sided_p(0.0), mean.two_sided_p(0.25)) == (0.0, 1.0)


def test_a_floor_keeps_rows_that_happen_to_agree_from_being_certain():
    values = np.zeros((3, 100))

    mean = crossed_mean(values, variance_floor=0.04)

    assert mean.standard_error == pytest.approx(np.sqrt(0.04 / 100))
    assert mean.p_value(-0.02) == pytest.approx(stats.t.sf(1.0, 99))


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (3, 1)])
def test_there_is_no_mean_without_a_seed_or_two_rows(shape):
    with pytest.raises(ValueError, match="crossed mean of"):
        crossed_mean(np.zeros(shape))


def estimates_of_one(num_seeds):
    """What a variance of 1 over seeds comes out as: as likely each."""
    freedom = num_seeds - 1
    return stats.chi2.ppf((np.arange(2000) + 0.5) / 2000, freedom) / freedom


def chance_of_error(num_seeds, seed_variance, shared, confidence):
    """Chance that a bound is wrong, by integration over what the seeds' variance comes out as.

    The variance of row means is 1 and known; `shared` of it is shared with the seeds.
    """
    reaches = [
        Spread(num_seeds, MANY_ROWS, part, 1.0, shared).reach_below(1 - confidence)
        for part in (seed_variance + shared) * estimates_of_one(num_seeds)
    ]
    return np.mean(stats.norm.sf(reaches / np.sqrt(1.0 + seed_variance)))


def chance_of_error_by_satterthwaite(num_seeds, seed_variance, confidence):
    """The same, where nothing is shared, for the usual test."""
    seed_part = seed_variance * estimates_of_one(num_seeds)
    freedom = (1.0 + seed_part) ** 2 / (seed_part**2 / (num_seeds - 1))
    reaches = stats.t.ppf(confidence, freedom) * np.sqrt(1.0 + seed_part)
    return np.mean(stats.norm.sf(reaches / np.sqrt(1.0 + seed_variance)))


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_a_bound_is_wrong_no_more_often_than_it_says_whatever_the_parts(num_seeds):
    for confidence in (0.95, 0.975):
        for shared in (0.0, 0.5, 1.0):
            for seed_variance in (0.0, 0.2, 1.0, 3.0, 10.0, 100.0):
                chance = chance_of_error(num_seeds, seed_variance, shared, confidence)
                assert chance <= (1 - confidence) * 1.005


def test_satterthwaites_degrees_of_freedom_would_not_keep_it():
    three_seeds = chance_of_error_by_satterthwaite(3, 10.0, 0.95)
    two_seeds = chance_of_error_by_satterthwaite(2, 10.0, 0.95)

    assert (three_seeds, two_seeds) == pytest.approx((0.062, 0.084), abs=0.002)
