"""A budget buys the most comparisons it can pay for, and never more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.specs.budget import BudgetSpec
from raymi.sweep.allowance import Affordable, Left, RunCost, affordable, limits_of

RUN = RunCost(accelerator_s=10.0, wall_clock_s=5.0)
costs = st.builds(RunCost, accelerator_s=st.floats(0.1, 100.0), wall_clock_s=st.floats(0.1, 100.0))


def afford(num_finalists: int, budget_s: float | None, num_seeds: int = 3) -> Affordable:
    return affordable(
        [RUN] * num_finalists,
        RUN,
        num_seeds=num_seeds,
        left=Left(accelerator_s=budget_s, wall_clock_s=None),
        num_concurrent=1,
    )


def test_without_a_limit_everything_is_paid():
    assert afford(3, None) == Affordable(num_finalists=3, num_seeds=3)


@pytest.mark.parametrize(
    ("budget_s", "expected"),
    [
        (120.0, Affordable(3, 3)),  # (3 + 1) runs x 3 seeds x 10 s
        (119.0, Affordable(3, 2)),  # seeds are given up first
        (79.0, Affordable(2, 2)),  # then finalists
        (39.0, Affordable(0, 1)),  # no pair fits: the reference alone
        (9.0, Affordable(0, 0)),  # nothing fits
    ],
)
def test_seeds_are_given_up_before_finalists_and_pairs_before_the_run_itself(budget_s, expected):
    assert afford(3, budget_s) == expected


@given(st.lists(costs, max_size=4), costs, st.integers(2, 5), st.floats(0.0, 500.0))
def test_what_is_planned_can_be_paid(finalists, reference, num_seeds, budget_s):
    found = affordable(
        finalists,
        reference,
        num_seeds=num_seeds,
        left=Left(accelerator_s=budget_s, wall_clock_s=None),
        num_concurrent=1,
    )

    chosen = [*finalists[: found.num_finalists], reference]
    assert found.num_seeds * sum(run.accelerator_s for run in chosen) <= budget_s + 1e-6


def test_runs_side_by_side_take_less_of_the_clock():
    found = affordable(
        [RUN], RUN, num_seeds=2, left=Left(accelerator_s=None, wall_clock_s=10.0), num_concurrent=2
    )

    assert found == Affordable(num_finalists=1, num_seeds=2)


def test_money_buys_accelerator_seconds_at_the_price():
    limits = limits_of(BudgetSpec(money=2.0), price_per_hour=4.0)

    assert limits.accelerator_s == 1800.0
    assert limits.reached(accelerator_s=1800.0, wall_clock_s=0.0) == "budget.money"


def test_the_tighter_of_two_limits_binds():
    limits = limits_of(BudgetSpec(money=2.0, accelerator_s=100.0), price_per_hour=4.0)

    assert limits.reached(accelerator_s=100.0, wall_clock_s=0.0) == "budget.accelerator_s"


def test_the_reserve_is_for_confirmation_only():
    limits = limits_of(BudgetSpec(accelerator_s=100.0, reserve=0.25), price_per_hour=None)

    assert limits.without_reserve().reached(accelerator_s=75.0, wall_clock_s=0.0) is not None
    assert limits.reached(accelerator_s=75.0, wall_clock_s=0.0) is None


def test_a_budget_in_money_without_a_price_is_an_error():
    with pytest.raises(ValueError, match="price"):
        limits_of(BudgetSpec(money=1.0), price_per_hour=None)
