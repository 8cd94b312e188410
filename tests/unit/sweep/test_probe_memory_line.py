"""Peak memory is a line over the micro-batch; the largest that fits is found with few tries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.sweep.probe.memory_model import fit, largest_that_fits

sizes = st.lists(st.integers(1, 512), min_size=1, max_size=12, unique=True).map(sorted)


@given(st.floats(0.1, 50.0), st.floats(1e-4, 1.0), st.integers(1, 300))
def test_points_on_a_line_give_that_line_back(fixed, slope, size):
    line = fit([(1, fixed + slope), (8, fixed + 8 * slope), (64, fixed + 64 * slope)])

    assert line.peak_gib(size) == pytest.approx(fixed + slope * size, rel=1e-6)
    assert line.max_error < 1e-6


def test_a_point_off_the_line_is_told():
    line = fit([(1, 1.0), (2, 2.0), (3, 3.6)])

    assert line.max_error > 0.02


@pytest.mark.parametrize("limit_gib", [1.5, 10.0, 11.0, 12.5])
def test_the_largest_micro_batch_is_the_last_that_stays_below_the_limit(limit_gib):
    line = fit([(1, 10.5), (3, 11.5)])

    largest = line.largest_micro_batch(limit_gib)

    assert all((line.peak_gib(b) <= limit_gib) == (b <= largest) for b in range(1, 20))


def test_one_size_has_no_line():
    assert fit([(4, 1.0), (4, 1.1)]) is None


@given(sizes, st.integers(0, 600), st.one_of(st.none(), st.integers(0, 600)))
def test_the_search_finds_what_trying_all_would(candidates, limit, guess):
    found = largest_that_fits(candidates, lambda size: size <= limit, guess=guess)

    assert found == max((size for size in candidates if size <= limit), default=None)


def test_a_good_guess_is_confirmed_with_two_tries():
    tried = []

    def fits(size):
        tried.append(size)
        return size <= 96

    assert largest_that_fits(list(range(8, 264, 8)), fits, guess=96) == 96
    assert tried == [96, 104]
