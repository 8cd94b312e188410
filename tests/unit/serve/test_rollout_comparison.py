"""A version on trial is taken back for what chance does not explain, and for nothing else."""

import numpy as np
import pytest
from scipy.stats import binom

from raymi.serve.rollout.comparison import Comparison, Tally, breach, lower_bound, upper_bound
from raymi.specs.deploy import BreachRules

RULES = BreachRules()


def compared(trial, baseline, *, rows=0, agreeing=0):
    return Comparison(
        trial="digits@2",
        baseline="digits@1",
        of_trial=trial,
        of_baseline=baseline,
        compared_rows=rows,
        agreeing_rows=agreeing,
    )


def tally(requests=1000, faults=0, p99_ms=10.0):
    return Tally(requests=requests, faults=faults, p50_ms=p99_ms, p99_ms=p99_ms)


def test_nothing_speaks_against_a_version_that_does_as_well():
    comparison = compared(tally(), tally(), rows=500, agreeing=495)

    assert breach(comparison, RULES) is None


@pytest.mark.parametrize(("requests", "faults"), [(10, 3), (100, 10), (5000, 100)])
def test_faults_that_the_other_version_does_not_have_are_a_breach(requests, faults):
    reason = breach(compared(tally(requests, faults), tally()), RULES)

    assert reason is not None
    assert f"{faults} of {requests} requests failed" in reason


@pytest.mark.parametrize(("requests", "faults"), [(2, 2), (1000, 3), (1000, 12)])
def test_few_faults_may_be_chance(requests, faults):
    assert breach(compared(tally(requests, faults), tally()), RULES) is None


def test_faults_that_both_have_are_not_the_trials():
    assert breach(compared(tally(1000, 50), tally(1000, 50)), RULES) is None


def test_a_version_that_is_much_slower_is_a_breach():
    reason = breach(compared(tally(p99_ms=90.0), tally(p99_ms=30.0)), RULES)

    assert reason is not None
    assert "90.0 ms" in reason
    assert "60.0 ms are allowed" in reason


@pytest.mark.parametrize(
    ("trial", "baseline"),
    [
        (tally(p99_ms=58.0), tally(p99_ms=30.0)),  # within the ratio
        (tally(p99_ms=9.0), tally(p99_ms=1.0)),  # within the slack
        (tally(requests=20, p99_ms=500.0), tally(p99_ms=1.0)),  # too few requests
        (tally(p99_ms=500.0), tally(requests=0, p99_ms=None)),  # nothing to compare with
    ],
)
def test_a_little_slower_or_not_yet_known_is_not(trial, baseline):
    assert breach(compared(trial, baseline), RULES) is None


def test_a_version_that_says_something_else_is_a_breach():
    reason = breach(compared(tally(), tally(), rows=400, agreeing=100), RULES)

    assert reason is not None
    assert "agrees with digits@1 on 100 of 400 rows" in reason


def test_agreement_is_not_judged_where_nobody_asked():
    rules = BreachRules(min_agreement=None)

    assert breach(compared(tally(), tally(), rows=400, agreeing=0), rules) is None


@pytest.mark.parametrize(("count", "total"), [(0, 10), (3, 10), (10, 10), (57, 1000)])
def test_bounds_are_where_the_binomial_says(count, total):
    """The lowest share for which so many, or more, still happen in one of twenty samples."""
    low, high = lower_bound(count, total), upper_bound(count, total)

    if count:
        assert binom.sf(count - 1, total, low) == pytest.approx(0.05)
    else:
        assert low == 0.0
    if count < total:
        assert binom.cdf(count, total, high) == pytest.approx(0.05)
    else:
        assert high == 1.0


def test_identical_versions_are_rarely_told_apart_by_their_faults():
    draw = np.random.default_rng(0)
    share = 0.02

    said = [
        breach(
            compared(
                tally(200, int(draw.binomial(200, share))),
                tally(2000, int(draw.binomial(2000, share))),
            ),
            RULES,
        )
        for _ in range(500)
    ]

    assert np.mean([reason is not None for reason in said]) < 0.05
