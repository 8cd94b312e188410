"""Whether a window counts is told by what others did to the machine, not by how fast it was."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.sweep.probe.disturbance import Spell, between, foreign_share, look, verdict

fractions = st.floats(0.0, 1.0)


def spell(*, busy_s=0.0, own_s=0.0, span_s=10.0, machine=1, num_cpus=2):
    return Spell(machine=machine, num_cpus=num_cpus, span_s=span_s, busy_s=busy_s, own_s=own_s)


def test_what_the_workers_used_themselves_disturbs_nobody():
    workers = [spell(busy_s=18.0, own_s=9.0), spell(busy_s=18.0, own_s=9.0)]

    assert foreign_share(workers) == 0.0


def test_the_rest_is_a_share_of_all_cpus():
    workers = [spell(busy_s=15.0, own_s=6.0), spell(busy_s=15.0, own_s=4.0)]

    # But for what the kernel's clock may be wrong by.
    assert foreign_share(workers) == pytest.approx(5.0 / 20.0, abs=0.002)


def test_a_worker_without_work_sees_only_a_moment():
    workers = [spell(busy_s=15.0, own_s=10.0), spell(busy_s=0.0, own_s=0.0, span_s=0.001)]

    assert foreign_share(workers) == pytest.approx(5.0 / 20.0, abs=0.002)


def test_the_most_disturbed_machine_counts():
    workers = [spell(busy_s=10.0, own_s=10.0), spell(busy_s=16.0, own_s=10.0, machine=2)]

    assert foreign_share(workers) == pytest.approx(6.0 / 20.0, abs=0.002)


@given(st.integers(1, 64), st.floats(0.0, 100.0), fractions, fractions)
def test_a_share_is_between_none_and_all(num_cpus, span_s, busy, own):
    capacity_s = span_s * num_cpus
    one = spell(
        num_cpus=num_cpus, span_s=span_s, busy_s=busy * capacity_s, own_s=own * busy * capacity_s
    )

    assert 0.0 <= foreign_share([one]) <= 1.0 + 1e-9


def test_a_tick_of_the_kernels_clock_in_a_short_window_is_nobodys_work():
    assert foreign_share([spell(span_s=0.02, busy_s=0.03, own_s=0.01)]) == 0.0


def test_work_of_this_process_is_its_own():
    before = look()
    ends_at = time.process_time() + 0.05
    while time.process_time() < ends_at:
        pass
    seen = between(before, look(), machine=1)

    assert seen.own_s == pytest.approx(0.05, abs=0.04)
    assert 0.0 <= seen.busy_s <= (seen.span_s + 0.02) * (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("share", "throttled", "why"),
    [
        (0.24, False, None),
        (None, False, None),
        (0.4, False, "other processes used 40% of the CPUs"),
        (None, True, "power or heat held the clock down"),
    ],
)
def test_a_window_counts_unless_something_speaks_against_it(share, throttled, why):
    assert verdict(share, throttled=throttled) == why
