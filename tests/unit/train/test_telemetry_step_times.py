"""Step times: percentiles of each worker, a histogram that adds up over all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.train.step_times import combine, summarize

DURATIONS_S = st.lists(st.floats(min_value=1e-6, max_value=1e3), min_size=1, max_size=50)


def test_percentiles_are_those_of_a_hundred_even_steps():
    times = summarize([index / 1000 for index in range(1, 102)])

    assert times.num_steps == 101
    assert (times.p50_ms, times.p95_ms, times.p99_ms) == pytest.approx((51.0, 96.0, 100.0))
    assert (times.mean_ms, times.max_ms) == pytest.approx((51.0, 101.0))


def test_no_steps_have_no_times():
    times = summarize([])

    assert (times.num_steps, times.max_ms, times.edges_ms, times.counts) == (0, 0.0, (), ())


@given(durations_s=DURATIONS_S)
def test_every_step_lies_between_the_edges_it_is_counted_between(durations_s):
    times = summarize(durations_s)

    edges, slack = times.edges_ms, 1e-6
    assert len(edges) == len(times.counts) + 1
    for low, high, count in zip(edges, edges[1:], times.counts, strict=False):
        at_least = sum(low * (1 + slack) <= d * 1e3 < high * (1 - slack) for d in durations_s)
        at_most = sum(low * (1 - slack) <= d * 1e3 < high * (1 + slack) for d in durations_s)
        assert at_least <= count <= at_most


@given(workers=st.lists(DURATIONS_S, min_size=1, max_size=4))
def test_the_histogram_of_all_workers_is_that_of_all_their_steps(workers):
    together = combine([summarize(durations_s) for durations_s in workers])

    everything = summarize([duration_s for durations_s in workers for duration_s in durations_s])
    assert together.counts == everything.counts
    assert together.edges_ms == everything.edges_ms


@given(workers=st.lists(DURATIONS_S, min_size=1, max_size=4))
def test_the_run_is_as_slow_as_its_slowest_worker(workers):
    each = [summarize(durations_s) for durations_s in workers]

    together = combine(each)

    assert together.p99_ms == max(times.p99_ms for times in each)
    assert together.max_ms == pytest.approx(max(max(d) for d in workers) * 1e3)


def test_workers_without_steps_do_not_count():
    one = summarize([0.1, 0.2])

    assert combine([summarize([]), one]) == one
    assert combine([summarize([])]).num_steps == 0
