"""Not worse by the margin: what passes, what is refused for lack of rows or seeds, exact levels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from raymi.significance.non_inferiority import compare, fewest_rows

ASKED = {"confidence": 0.95, "power": 0.8}
accuracy = {"metric": "accuracy", "margin": 0.01, **ASKED}
rmse = {"metric": "rmse", "margin": 0.05, **ASKED}
loss = {"metric": "loss", "margin": 0.05, **ASKED}


def right(num_rows, *, wrong=0, num_seeds=3):
    """Scores of models that are all wrong in the first rows."""
    scores = np.ones((num_seeds, num_rows))
    scores[:, :wrong] = 0.0
    return scores


def costs(num_rows=2000, *, factor=1.0, seed=0, noise=0.1):
    """Squared errors of three models that share most of what they get wrong."""
    generator = np.random.default_rng(seed)
    rows = np.random.default_rng(99).normal(size=num_rows)
    return factor * np.square(rows + noise * generator.normal(size=(3, num_rows)))


def answers(num_rows, share_apart, *, seed=0):
    """Two settings exactly as good, that disagree on some rows at random."""
    generator = np.random.default_rng(seed)
    apart = generator.random((3, num_rows)) < share_apart
    first = np.where(apart, generator.integers(2, size=(3, num_rows)), 1.0)
    return first, np.where(apart, 1.0 - first, first)


# Rows


@given(
    arrays.arrays(np.float64, (3, 200), elements=st.sampled_from([0.0, 1.0])),
    arrays.arrays(np.float64, (3, 200), elements=st.sampled_from([0.0, 1.0])),
)
def test_two_hundred_rows_never_show_one_point(candidate, reference):
    assert not compare(candidate, reference, **accuracy).is_shown


def test_nor_do_two_hundred_rows_on_which_both_are_always_right():
    comparison = compare(right(200), right(200), **accuracy)

    assert comparison.p_value < 0.05
    assert not comparison.has_power
    assert not comparison.is_shown
    assert comparison.rows_needed == fewest_rows(0.01, **ASKED)


def test_models_that_never_disagree_are_shown_from_the_fewest_rows_on():
    fewest = fewest_rows(0.01, **ASKED)

    assert compare(right(fewest), right(fewest), **accuracy).is_shown
    assert not compare(right(fewest - 1), right(fewest - 1), **accuracy).is_shown


@pytest.mark.parametrize(("margin", "rows"), [(0.02, 216), (0.01, 431), (0.005, 861)])
def test_the_fewest_rows_follow_the_rule_of_three(margin, rows):
    """Without a disagreement on N rows at most 3 / N of all disagree: N = sqrt(3) z / margin."""
    z = stats.norm.ppf(0.95) + stats.norm.ppf(0.8)

    assert fewest_rows(margin, **ASKED) == rows
    assert rows == pytest.approx(math.sqrt(3) * z / margin, rel=0.01)


def test_the_rows_needed_are_those_of_the_textbook_when_they_are_many():
    candidate, reference = answers(200_000, 0.1)

    needed = compare(candidate, reference, **accuracy).rows_needed

    # Seeds that disagree at random: three are no better than 2.92 / 1.645 says, by Student's t.
    z = stats.norm.ppf(0.8)
    lowest = (stats.norm.ppf(0.95) + z) ** 2 * (0.1 / 3) / 0.01**2
    highest = (stats.t.ppf(0.95, 2) * 2 + z) ** 2 * (0.1 / 3) / 0.01**2
    assert lowest < needed < highest


def test_more_rows_of_the_same_kind_are_not_needed_because_there_are_more():
    needed = [compare(*answers(num_rows, 0.05), **accuracy) for num_rows in (500, 50_000)]

    assert not needed[0].has_power
    assert needed[1].has_power
    assert needed[1].rows_needed < 50_000


# Seeds


def test_one_seed_shows_nothing():
    comparison = compare(right(9000, num_seeds=1), right(9000, num_seeds=1), **accuracy)

    assert comparison.p_value < 0.05
    assert comparison.has_power
    assert not comparison.is_shown


def test_seeds_that_differ_more_than_the_margin_need_more_seeds_not_rows():
    generator = np.random.default_rng(0)
    shares = np.array([[0.80], [0.82], [0.84]])
    candidate = (generator.random((3, 20_000)) < shares).astype(float)
    reference = (generator.random((3, 20_000)) < shares[::-1]).astype(float)

    comparison = compare(candidate, reference, **accuracy)

    assert comparison.num_rows > comparison.rows_needed
    assert not comparison.has_power
    # Half of what may vary is left to the rows.
    deviation = np.std((candidate - reference).mean(axis=1), ddof=1)
    needed = comparison.seeds_needed
    quantiles = stats.t.ppf(0.95, needed - 1) + stats.norm.ppf(0.8)
    assert quantiles * deviation * math.sqrt(2 / needed) == pytest.approx(0.01, rel=0.05)


# Differences and bounds


def test_an_accuracy_is_compared_in_points():
    comparison = compare(right(5000, wrong=600), right(5000, wrong=500), **accuracy)

    assert comparison.quality_candidate == pytest.approx(0.88)
    assert comparison.quality_reference == pytest.approx(0.90)
    assert comparison.difference == pytest.approx(-0.02)
    assert comparison.lower_bound < -0.02 < comparison.upper_bound < -0.01
    assert comparison.is_worse
    assert not comparison.is_shown


def test_errors_are_compared_as_a_share_of_the_references():
    comparison = compare(costs(factor=1.21), costs(), **rmse)

    assert comparison.quality_reference == pytest.approx(math.sqrt(costs().mean()))
    assert comparison.difference == pytest.approx(-0.1)
    assert comparison.lower_bound == pytest.approx(-0.1)
    assert comparison.upper_bound == pytest.approx(-0.1)
    assert comparison.is_worse


def test_losses_are_compared_per_element_as_a_share_of_the_references():
    counts = np.full(2000, 64)

    comparison = compare(costs(factor=1.1), costs(), **loss, counts=counts)

    assert comparison.quality_candidate == pytest.approx(1.1 * costs().mean() / 64)
    assert comparison.difference == pytest.approx(-0.1)


def test_what_a_row_is_a_sum_of_does_not_change_what_is_decided():
    candidate, reference = costs(seed=1), costs(seed=2)

    per_row = compare(candidate, reference, **loss)
    per_byte = compare(candidate, reference, **loss, counts=np.full(2000, 64))

    assert per_byte.p_value == pytest.approx(per_row.p_value)
    assert per_byte.lower_bound == pytest.approx(per_row.lower_bound)
    assert per_byte.rows_needed == per_row.rows_needed


@pytest.mark.parametrize(
    ("sides", "asked"),
    [
        ((costs(300, seed=1, noise=0.3), costs(300, seed=2, noise=0.3)), rmse),
        ((costs(300, seed=1, noise=0.3), costs(300, seed=2, noise=0.3)), loss),
    ],
    ids=["rmse", "loss"],
)
def test_the_lower_bound_is_the_margin_at_which_the_test_just_passes(sides, asked):
    found = compare(*sides, **asked)

    at_bound = compare(*sides, **(asked | {"margin": -found.lower_bound}))
    within = compare(*sides, **(asked | {"margin": -found.lower_bound - 1e-4}))
    assert at_bound.p_value == pytest.approx(0.05, abs=1e-4)
    assert within.p_value > 0.05


def test_the_bounds_of_a_ratio_are_fiellers():
    """One seed and rows of many kinds: an ordinary ratio of two means."""
    generator = np.random.default_rng(5)
    reference = 5.0 + generator.normal(size=(1, 20_000))
    candidate = reference + generator.normal(size=(1, 20_000))

    comparison = compare(candidate, reference, **loss)

    t = stats.t.ppf(0.95, 19_999)
    (cc, cr), (_, rr) = np.cov(candidate[0], reference[0]) / 20_000
    c, r = candidate.mean(), reference.mean()
    ratios = np.roots([r * r - t * t * rr, -2 * (c * r - t * t * cr), c * c - t * t * cc])
    # These rows are hardly skew, and two more of the worst hardly matter among so many.
    assert 1 - comparison.lower_bound == pytest.approx(max(ratios), abs=2e-4)
    assert 1 - comparison.upper_bound == pytest.approx(min(ratios), abs=2e-4)
    assert max(ratios) - min(ratios) > 4e-3


def test_a_rare_large_error_may_have_been_missed_more_often_than_seen():
    damaged = costs(1000)
    damaged[:, 0] += 40.0

    seen_once = compare(damaged, costs(1000), **rmse)

    # As if three rows were like it, not one.
    as_if = costs(1000)
    as_if[:, :3] += 40.0
    thrice = 1.0 - math.sqrt(as_if.mean() / costs(1000).mean())
    assert seen_once.lower_bound < thrice < seen_once.difference


def test_a_side_compared_with_itself_is_exactly_as_good():
    for asked in (rmse, loss):
        comparison = compare(costs(), costs(), **asked)

        assert (comparison.difference, comparison.lower_bound, comparison.upper_bound) == (0, 0, 0)
        assert comparison.is_shown


def test_turning_the_sides_turns_the_statement():
    first, second = answers(3000, 0.1)

    forward, backward = compare(first, second, **accuracy), compare(second, first, **accuracy)

    assert backward.difference == -forward.difference
    assert backward.lower_bound == pytest.approx(-forward.upper_bound)


@pytest.mark.parametrize("asked", [rmse, loss], ids=["rmse", "loss"])
def test_a_reference_without_errors_leaves_no_share_to_allow(asked):
    nothing, something = np.zeros((3, 500)), costs(500)

    as_good, worse = compare(nothing, nothing, **asked), compare(something, nothing, **asked)

    assert (as_good.difference, as_good.is_shown) == (0.0, False)
    assert (worse.difference, worse.is_shown) == (-math.inf, False)
    assert worse.p_value == pytest.approx(1.0, abs=1e-5)


def test_a_candidate_without_errors_is_better():
    comparison = compare(np.zeros((3, 5000)), costs(5000), **rmse)

    assert comparison.difference == comparison.upper_bound == 1.0
    assert comparison.is_shown


# Levels


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
@pytest.mark.parametrize(
    ("margin", "num_rows"), [(0.01, 450), (0.01, 1000), (0.01, 3000), (0.02, 500), (0.005, 4000)]
)
def test_a_model_that_fails_on_as_many_rows_as_the_margin_passes_rarely_enough(
    margin, num_rows, num_seeds
):
    """Exact: the number of rows on which all seeds fail is binomial."""
    chance = 0.0
    reference = right(num_rows, num_seeds=num_seeds)
    for wrong in range(int(margin * num_rows) + 1):
        candidate = right(num_rows, wrong=wrong, num_seeds=num_seeds)
        if not compare(candidate, reference, **(accuracy | {"margin": margin})).is_shown:
            break
        chance += stats.binom.pmf(wrong, num_rows, margin)

    assert chance <= 0.05


def test_shapes_and_metrics_must_be_known():
    with pytest.raises(ValueError, match="shapes"):
        compare(right(10), right(11), **accuracy)
    with pytest.raises(ValueError, match="no test for bleu"):
        compare(right(10), right(10), **(accuracy | {"metric": "bleu"}))
