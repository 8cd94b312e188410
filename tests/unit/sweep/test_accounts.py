"""What a sweep has spent is read from disk, so that a killed driver's share is not forgotten."""

import pytest

from raymi.sweep.accounts import wall_clock_s


def event(kind: str, time: float) -> dict[str, object]:
    return {"event": kind, "time": time}


def test_a_sweep_that_runs_counts_until_now():
    assert wall_clock_s([event("sweep_started", 100.0)], now=130.0) == 30.0


def test_the_time_between_two_drivers_is_not_counted():
    events = [
        event("sweep_started", 100.0),
        event("budget", 140.0),
        # Killed here; a day passes.
        event("sweep_started", 90_000.0),
        event("budget", 90_005.0),
    ]

    assert wall_clock_s(events, now=90_010.0) == pytest.approx(40.0 + 10.0)


def test_nothing_was_spent_before_the_first_driver():
    assert wall_clock_s([], now=50.0) == 0.0
