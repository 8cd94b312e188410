"""A phase stops at its own limit; what is kept for confirmation is not spent before."""

import pytest

from raymi.sweep.allowance import Limits
from raymi.sweep.evidence import Spending
from raymi.sweep.monitor import Monitor
from raymi.train.events import EventLog, read_events


class Books:
    """Accounts whose total a test sets."""

    def __init__(self) -> None:
        self.accelerator_s = 0.0

    def spending(self, *, running: object = ()) -> Spending:
        return Spending(probe_s=self.accelerator_s)


@pytest.fixture
def books():
    return Books()


@pytest.fixture
def clock():
    return iter(range(0, 10_000, 10))


@pytest.fixture
def monitor(tmp_path, books, clock):
    return Monitor(
        EventLog(tmp_path / "events.jsonl"),
        books,
        Limits(accelerator_s=100.0, wall_clock_s=None, reserve=0.25),
        tell=lambda event: None,
        clock=lambda: float(next(clock)),
    )


def test_a_phase_goes_on_while_something_is_left(monitor, books):
    books.accelerator_s = 74.0

    assert not monitor.should_stop()


def test_a_phase_stops_where_the_reserve_begins(monitor, books):
    books.accelerator_s = 75.0

    assert monitor.should_stop()
    assert monitor.reached == "budget.accelerator_s"


def test_a_phase_that_has_stopped_stays_stopped(monitor, books):
    books.accelerator_s = 75.0
    monitor.should_stop()
    books.accelerator_s = 0.0

    assert monitor.should_stop()


def test_confirmation_may_use_the_reserve(monitor, books):
    books.accelerator_s = 80.0
    monitor.should_stop()

    monitor.enter("confirmation", may_use_reserve=True)

    assert not monitor.should_stop()
    books.accelerator_s = 100.0
    assert monitor.should_stop()


def test_what_was_spent_between_two_looks_is_seen_when_a_phase_ends(monitor, books):
    monitor.should_stop()
    books.accelerator_s = 75.0

    monitor.look()

    assert monitor.reached == "budget.accelerator_s"


def test_a_limit_that_was_reached_is_an_event(monitor, books, tmp_path):
    books.accelerator_s = 75.0

    monitor.should_stop()

    events = read_events(tmp_path / "events.jsonl")
    assert [event["event"] for event in events] == ["budget", "stopped"]
