"""How many workers there is room for, how long a run waits for it, and when it grows."""

import pytest

from raymi.accelerators.catalog import CPU, find
from raymi.specs.resources import ResourceSpec
from raymi.train.worker_group import (
    GROWTH_INTERVAL_S,
    LEAST_STAY_S,
    SETTLING_S,
    GrowthWatch,
    Room,
    wait_for_room,
    workers_now,
)

ELASTIC = ResourceSpec.from_document({"num_workers": {"min": 2, "max": 4}})
FIXED = ResourceSpec(num_workers=2)


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


@pytest.fixture
def clock():
    return Clock()


def cpus(*counts):
    return [{"CPU": float(count)} for count in counts]


def wait(spec, free, clock, *, patience_s=300.0, is_over=lambda: False):
    room = Room(spec, CPU, free)
    return wait_for_room(
        room, patience_s=patience_s, is_over=is_over, clock=clock, sleep=clock.sleep
    )


@pytest.mark.parametrize(
    ("free", "num_workers"),
    [
        (cpus(), None),
        (cpus(1), None),
        (cpus(2), 2),
        (cpus(1, 1, 1), 3),
        (cpus(8, 8), 4),
        (cpus(0.5, 1.5, 1.9), 2),
    ],
)
def test_an_elastic_run_takes_what_fits_between_its_bounds(free, num_workers):
    assert workers_now(ELASTIC, CPU, free) == num_workers


def test_a_worker_fits_on_one_node_or_not_at_all():
    spec = ResourceSpec(num_workers=1, cpus_per_worker=4)

    assert workers_now(spec, CPU, cpus(2, 2)) is None
    assert workers_now(spec, CPU, cpus(2, 4)) == 1


def test_an_accelerator_worker_needs_its_device_and_its_cpus():
    spec, device = ResourceSpec(num_workers=2), find("AMD-Instinct-MI300X-OAM")

    assert workers_now(spec, device, [{"CPU": 64.0, "GPU": 1.0}]) is None
    assert workers_now(spec, device, [{"CPU": 64.0, "GPU": 8.0}]) == 2


def test_room_for_all_is_taken_at_once(clock):
    assert wait(ELASTIC, lambda: cpus(4), clock) == 4
    assert clock() == 0.0


def test_an_elastic_run_gives_the_group_before_it_time_to_go(clock):
    assert wait(ELASTIC, lambda: cpus(4 if clock() >= 2 else 1), clock) == 4


def test_an_elastic_run_starts_with_fewer_when_the_rest_does_not_come(clock):
    assert wait(ELASTIC, lambda: cpus(3), clock) == 3
    assert clock() == SETTLING_S


def test_a_fixed_run_waits_for_its_last_worker(clock):
    assert wait(FIXED, lambda: cpus(2 if clock() >= 100 else 1), clock) == 2
    assert clock() == 100


def test_patience_ends(clock):
    assert wait(FIXED, lambda: cpus(1), clock, patience_s=60) is None
    assert clock() == 60


def test_what_is_there_when_patience_ends_is_taken(clock):
    assert wait(ELASTIC, lambda: cpus(3), clock, patience_s=-1.0) == 3


def test_nobody_waits_for_a_run_that_is_over(clock):
    assert wait(FIXED, lambda: cpus(1), clock, is_over=lambda: clock() >= 3) is None
    assert clock() == 3


def test_what_is_missing_is_said_in_a_sentence():
    room = Room(FIXED, CPU, lambda: cpus(1, 0))

    assert room.sentence() == "2 workers need 1 CPU each; free on each node: 1 CPU; 0 CPU"


@pytest.fixture
def watch(clock):
    def watch(free, *, num_workers=2):
        return GrowthWatch(Room(ELASTIC, CPU, free), num_workers=num_workers, clock=clock)

    return watch


def first_due_s(watch, clock, until_s=300.0):
    """When it says so, looking twice a second."""
    while clock() < until_s:
        if watch.is_due():
            return clock()
        clock.sleep(0.5)
    return None


def test_a_small_group_grows_once_it_has_worked_for_a_while(watch, clock):
    growth = watch(lambda: cpus(0, 2))
    growth.began()

    assert first_due_s(growth, clock) == LEAST_STAY_S + GROWTH_INTERVAL_S


def test_room_that_is_gone_at_the_next_look_is_no_room(watch, clock):
    looks = iter([cpus(1), cpus(0)] * 100)
    growth = watch(lambda: next(looks))
    growth.began()

    assert first_due_s(growth, clock) is None


@pytest.mark.parametrize("num_workers", [4])
def test_a_full_group_does_not_grow(watch, clock, num_workers):
    growth = watch(lambda: cpus(8), num_workers=num_workers)
    growth.began()

    assert first_due_s(growth, clock) is None


def test_workers_that_have_not_begun_may_not_have_taken_their_place_yet(watch, clock):
    assert first_due_s(watch(lambda: cpus(8)), clock) is None
