"""Holm's correction, by its definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.significance.multiplicity import holm

p_values = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6)


def test_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_nothing_to_correct():
    assert holm([]) == []
    assert holm([0.03]) == [0.03]


def test_equal_p_values_are_corrected_alike():
    assert holm([0.02, 0.02, 0.02]) == pytest.approx([0.06] * 3)


@given(p_values)
def test_it_is_the_closed_test_with_bonferroni_for_every_subset(p_values):
    """A hypothesis falls if every intersection that contains it does (Marcus et al. 1976)."""
    indices = range(len(p_values))
    subsets = [
        set(chosen)
        for size in range(1, len(p_values) + 1)
        for chosen in itertools.combinations(indices, size)
    ]
    closed = [
        max(
            min(1.0, len(subset) * min(p_values[i] for i in subset))
            for subset in subsets
            if index in subset
        )
        for index in indices
    ]

    assert holm(p_values) == pytest.approx(closed)


@given(p_values, st.randoms())
def test_the_order_of_the_tests_does_not_matter(p_values, random):
    order = random.sample(range(len(p_values)), len(p_values))

    shuffled = holm([p_values[index] for index in order])

    assert shuffled == pytest.approx([holm(p_values)[index] for index in order])


def test_any_false_rejection_is_as_rare_as_promised():
    generator = np.random.default_rng(0)
    true_nulls = generator.random((4000, 5))

    rejected = [min(holm(list(row))) <= 0.05 for row in true_nulls]

    assert np.mean(rejected) == pytest.approx(0.05, abs=0.012)
