"""What forward passes alone allow is what queueing theory says, and follows the batching rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.serve.load.arrivals import poisson
from raymi.serve.tuning.queueing import Server, capacity_rows_per_s, pass_times, simulate


def server(**changes):
    given = {"pass_s": lambda n: 0.01, "max_batch_size": 1, "max_wait_s": 0.0, "num_replicas": 1}
    return Server(**{**given, **changes})


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_the_mean_wait_is_that_of_pollaczek_and_khinchine(load):
    service_s = 0.01
    arrivals_s = poisson(load / service_s, 2000.0, seed=1)

    waits_s = simulate(arrivals_s, server()) - service_s

    assert waits_s.mean() == pytest.approx(load * service_s / (2.0 * (1.0 - load)), rel=0.08)


def test_as_many_requests_find_a_lone_server_idle_as_it_is_idle():
    waits_s = simulate(poisson(60.0, 1000.0, seed=2), server()) - 0.01

    assert np.mean(waits_s < 1e-9) == pytest.approx(0.4, abs=0.02)


def test_arrivals_during_a_pass_leave_together():
    latencies_s = simulate(np.array([0.0, 0.001, 0.002]), server(max_batch_size=8))

    assert latencies_s == pytest.approx([0.01, 0.019, 0.018])


def test_a_full_batch_does_not_wait_and_a_lone_client_does_not_either():
    waiting = server(max_batch_size=2, max_wait_s=0.1)

    latencies_s = simulate(np.array([0.0, 0.03, 1.0, 2.0]), waiting)

    # Two fill a batch after 30 ms; the third waits for company in vain; the fourth knows better.
    assert latencies_s == pytest.approx([0.04, 0.01, 0.11, 0.01])


def test_another_replica_takes_what_comes_while_one_is_busy():
    latencies_s = simulate(np.array([0.0, 0.001]), server(num_replicas=2))

    assert latencies_s == pytest.approx([0.01, 0.01])


def test_capacity_is_that_of_the_best_batch_size():
    growing = server(pass_s=pass_times({1: 0.01, 8: 0.02}), max_batch_size=8, num_replicas=2)

    assert capacity_rows_per_s(growing) == pytest.approx(2 * 8 / 0.02)


def test_a_request_of_more_rows_than_a_batch_takes_several_passes():
    large = server(max_batch_size=4, rows_per_request=10)

    assert simulate(np.array([0.0]), large) == pytest.approx([0.03])
    assert capacity_rows_per_s(large) == pytest.approx(10 / 0.03)


@given(
    gaps=st.lists(st.floats(0.0, 0.05), min_size=1, max_size=60),
    size=st.integers(1, 8),
    wait_s=st.sampled_from([0.0, 0.004]),
    replicas=st.integers(1, 3),
)
def test_nobody_is_answered_faster_than_a_pass_or_later_than_all_work_allows(
    gaps, size, wait_s, replicas
):
    arrivals_s = np.cumsum(gaps)

    latencies_s = simulate(
        arrivals_s, server(max_batch_size=size, max_wait_s=wait_s, num_replicas=replicas)
    )

    assert (latencies_s >= 0.01 - 1e-12).all()
    assert (latencies_s <= len(gaps) * (0.01 + wait_s) + 1e-9).all()
