"""Upper bounds of variances hold as often as they say, and promises need what they need."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from raymi.significance.crossed import Spread, crossed_mean
from raymi.significance.power import Promise, needed, numbers_variance, shares_variance


@given(st.integers(0, 50), st.integers(51, 500))
def test_for_whole_disagreements_it_is_clopper_and_pearsons(num_apart, num_rows):
    rows = np.zeros(num_rows)
    rows[:num_apart] = -1.0

    interval = stats.binomtest(num_apart, num_rows).proportion_ci(0.9, method="exact")

    assert shares_variance(rows)(num_rows) == pytest.approx(interval.high)


def test_rows_that_are_all_apart_may_vary_as_much_as_anything():
    assert shares_variance(np.ones(10))(10) == 1.0


def test_a_floor_holds_where_rows_agree():
    assert shares_variance(np.zeros(10_000), 0.01)(10_000) == 0.01


@pytest.mark.parametrize(
    ("draw", "least"),
    [
        (lambda generator: generator.normal(size=200), 0.93),
        (lambda generator: generator.normal(size=200) ** 2, 0.88),
        (lambda generator: generator.standard_t(5, size=200), 0.88),
    ],
    ids=["normal", "squares", "heavy tails"],
)
def test_the_bound_of_any_numbers_is_above_their_variance_most_of_the_time(draw, least):
    generator = np.random.default_rng(4)
    truth = np.var(np.concatenate([draw(generator) for _ in range(2000)]))

    held = [numbers_variance(draw(generator))(200) >= truth for _ in range(1000)]

    assert np.mean(held) >= least


def test_for_normal_numbers_it_is_about_the_chi_square_bound():
    numbers = np.random.default_rng(0).normal(size=5000)

    exact = numbers.var(ddof=1) * 4999 / stats.chi2.ppf(0.05, 4999)

    assert numbers_variance(numbers)(5000) == pytest.approx(exact, rel=0.005)


def test_heavy_tails_leave_it_less_sure():
    generator = np.random.default_rng(0)
    light, heavy = generator.normal(size=500), generator.standard_t(3, size=500)

    def excess(numbers):
        return numbers_variance(numbers)(500) / numbers.var()

    assert excess(heavy) > excess(light) > 1.0


@given(st.integers(0, 30), st.integers(2, 2000))
def test_more_rows_never_loosen_a_bound(num_apart, num_rows):
    rows = np.zeros(40)
    rows[:num_apart] = 1.0

    for bound in (shares_variance(rows), numbers_variance(rows)):
        assert bound(num_rows + 1) / (num_rows + 1) <= bound(num_rows) / num_rows


def test_a_promise_is_kept_exactly_by_the_rows_it_is_said_to_need():
    generator = np.random.default_rng(0)
    values = (generator.random((3, 800)) < 0.04) * generator.choice([-1.0, 1.0], (3, 800))
    promise = Promise(distance=0.01, confidence=0.95, power=0.8)
    spread, bound = crossed_mean(values).spread, shares_variance(values.mean(axis=0))

    need = needed(spread, promise, bound)

    # What is seen with more rows: the parts that rows share shrink with their number.
    def extrapolated(num_rows):
        share = spread.num_rows / num_rows
        only_seeds = max(0.0, spread.seed_part - spread.shared_part)
        shared = min(spread.seed_part, spread.shared_part)
        return Spread(
            num_seeds=3,
            num_rows=num_rows,
            seed_part=only_seeds + shared * share,
            row_part=bound(num_rows) / num_rows,
            shared_part=spread.shared_part * share,
            skew=spread.skew * share,
        )

    assert need.seeds is None
    assert promise.holds(extrapolated(need.rows))
    assert not promise.holds(extrapolated(need.rows - 1))


def test_a_promise_of_rows_alone_is_the_textbooks():
    promise = Promise(distance=0.1, confidence=0.95, power=0.8)

    need = needed(Spread(1, 1000, 0.0, 1.0 / 1000, 0.0), promise, lambda num_rows: 1.0)

    z = stats.norm.ppf(0.95) + stats.norm.ppf(0.8)
    assert need.rows == pytest.approx((z / 0.1) ** 2, abs=2)
