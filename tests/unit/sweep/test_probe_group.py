"""Whatever was being measured when the workers were lost is left out, and a new group goes on."""

from __future__ import annotations

import errno
import itertools
import time
from collections.abc import Callable

import pytest

from raymi.errors import TrainingError
from raymi.sweep.evidence import Glance, MemoryPoint, Window
from raymi.sweep.probe.group import run_probe
from raymi.sweep.probe.journal import ProbeJournal, read_progress
from raymi.sweep.probe.plan import ProbePlan
from raymi.sweep.probe.worker import STOP_FILE
from tests.unit.sweep.probe_plans import plan_maker


class WorkerCrashedError(Exception):
    """As Ray calls it."""


class MadeUpGroup:
    """Workers that do something, and may fail."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def has_ended(self, *, within_s: float) -> bool:
        self._work()
        return True

    def kill(self) -> None:
        raise AssertionError("nobody is to be killed")


class DeafGroup:
    """Workers that do not end before they are killed."""

    def __init__(self, at_look: Callable[[int], None] = lambda look: None) -> None:
        self.looks = 0
        self.is_killed = False
        self._at_look = at_look

    def has_ended(self, *, within_s: float) -> bool:
        self._at_look(self.looks)
        self.looks += 1
        return False

    def kill(self) -> None:
        self.is_killed = True


class MadeUpStarter:
    """Hands out groups, one after the other."""

    def __init__(self, *groups) -> None:
        self.left = list(groups)

    def wait(self, is_over: Callable[[], bool]) -> None:
        """There is room."""

    def start(self):
        return self.left.pop(0)


@pytest.fixture(scope="module")
def make_plan(tmp_path_factory):
    return plan_maker(tmp_path_factory.mktemp("store"))


@pytest.fixture
def plan(make_plan, tmp_path) -> ProbePlan:
    return make_plan(tmp_path)


@pytest.fixture
def pen(tmp_path) -> ProbeJournal:
    return ProbeJournal(tmp_path)


@pytest.fixture
def probe(plan):
    """Run a probe whose groups do one thing after the other; what it said, and the evidence."""

    def run(*works: Callable[[], None], **options):
        starter, lines = MadeUpStarter(*map(MadeUpGroup, works)), []
        evidence = run_probe(plan, starter=starter, say=lines.append, **options)
        assert starter.left == []
        return lines, evidence

    return run


def lost_while_looking(plan, pen, *settings):
    def work() -> None:
        pen.looking([plan.setting(index) for index in settings])
        raise WorkerCrashedError("the worker died unexpectedly")

    return work


def finished(pen):
    return lambda: pen.note("complete")


def ready(pen) -> None:
    pen.note("ready", num_workers=2, machine=[], memory_limit_gib=None, meter=None)


def test_a_worker_that_is_lost_once_costs_no_setting(probe, plan, pen):
    lines, evidence = probe(lost_while_looking(plan, pen, 2), finished(pen))

    assert evidence.failures == {}
    assert lines == ["probe: a worker process was lost; what it measured is measured again"]


def test_the_setting_that_workers_are_lost_with_twice_is_left_out(probe, plan, pen):
    lost = lost_while_looking(plan, pen, 2)

    lines, evidence = probe(lost, lost, finished(pen))

    assert evidence.failures == {2: "a worker process was lost while it was probed"}
    assert lines[1:] == [f"probe: {plan.setting(2).label}: {evidence.failures[2]}"]


def test_all_settings_that_a_measurement_speaks_for_are_left_out(probe, plan, pen):
    lost = lost_while_looking(plan, pen, 2, 3)

    _, evidence = probe(lost, lost, finished(pen))

    assert set(evidence.failures) == {2, 3}


def test_what_was_lost_with_one_setting_says_nothing_about_another(probe, plan, pen):
    works = [lost_while_looking(plan, pen, index) for index in (1, 2, 3)]

    _, evidence = probe(*works, finished(pen))

    assert evidence.failures == {}


def test_a_full_disk_ends_the_probe_and_is_no_settings_fault(probe, plan, pen):
    def work() -> None:
        pen.looking([plan.setting(1)])
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(TrainingError) as caught:
        probe(work)

    assert caught.value.reason == "disk_full"
    assert pen.progress().failures == {}


def test_settings_that_fail_together_are_told_together(probe, plan, pen):
    def work() -> None:
        pen.fail(map(plan.setting, (2, 3)), "bf16: 84x slower")
        pen.fail([plan.setting(1)], "out of memory")
        pen.note("complete")

    lines, _ = probe(work)

    assert lines == [
        "probe: 2 settings: bf16: 84x slower",
        f"probe: {plan.setting(1).label}: out of memory",
    ]


def test_what_ran_out_of_memory_says_so(probe, plan, pen):
    def work() -> None:
        pen.looking([plan.setting(1)])
        raise RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB")

    _, evidence = probe(work, finished(pen))

    assert evidence.failures == {1: "out of memory: while it was probed"}


def test_an_error_of_the_network_is_told_in_its_own_words(probe, plan, pen):
    def work() -> None:
        pen.looking([plan.setting(1)])
        raise ValueError("too wide\nand more")

    _, evidence = probe(work, finished(pen))

    assert evidence.failures == {1: "ValueError: too wide"}


def test_workers_that_die_of_no_setting_are_started_three_times(probe):
    def work() -> None:
        raise WorkerCrashedError("the worker died unexpectedly")

    with pytest.raises(TrainingError) as caught:
        probe(work, work, work)

    assert caught.value.reason == "worker_died"


def test_a_probe_that_was_seen_through_starts_nothing(probe, pen):
    pen.note("complete")

    lines, _ = probe()

    assert lines == []


def test_a_probe_without_means_starts_nothing(make_plan, tmp_path, pen):
    pen.note("started", num_workers=2)
    pen.note("ended")

    run_probe(make_plan(tmp_path, limit_s=0.0), starter=MadeUpStarter(), say=print)


def test_workers_are_told_to_stop_by_a_file(plan, pen, tmp_path):
    class Obedient(DeafGroup):
        def has_ended(self, *, within_s: float) -> bool:
            return super().has_ended(within_s=within_s) or (tmp_path / STOP_FILE).exists()

    group = Obedient(lambda look: ready(pen) if look == 0 else None)
    # Asked before and after there is room, and after each look.
    answers = iter([False, False, False, False, True])

    run_probe(plan, starter=MadeUpStarter(group), say=print, should_stop=lambda: next(answers))

    assert (group.looks, group.is_killed) == (4, False)


def test_workers_that_measure_on_after_the_end_are_killed(plan, pen):
    group = DeafGroup(lambda look: ready(pen) if look == 0 else None)
    times = iter([0.0, 10.0, 11.0, 12.1])
    answers = iter([False, False, False, True])

    run_probe(
        plan,
        starter=MadeUpStarter(group),
        say=print,
        should_stop=lambda: next(answers),
        clock=lambda: next(times),
    )

    assert group.is_killed
    assert list(times) == []


def test_workers_that_are_still_starting_when_the_budget_ends_are_killed(make_plan, tmp_path):
    group = DeafGroup()
    began_at = time.time()
    seconds = itertools.count(began_at)

    run_probe(
        make_plan(tmp_path, limit_s=10.0),
        starter=MadeUpStarter(group),
        say=print,
        clock=lambda: next(seconds),
    )

    # One worker uses ten accelerator-seconds up in ten looks, a second apart.
    assert group.is_killed
    assert group.looks in (10, 11, 12)


def test_progress_is_told_with_the_time_that_is_left(probe, plan, pen):
    def work() -> None:
        ready(pen)
        pen.measured("glance", Glance(setting=0, micro_batch_size=8, sample_s=0.1))
        point = MemoryPoint(setting=0, micro_batch_size=8, peak_gib=0.25, duration_s=1.0)
        pen.measured("memory", point)
        pen.measured("memory", point.model_copy(update={"peak_gib": None}))
        pen.measured("window", Window(setting=0, round=0, num_steps=1, duration_s=30.0))
        pen.note("round", round=0, dropped=[1])
        pen.note("complete")

    lines, _ = probe(work)

    assert lines == [
        "probe: 2 workers ready",
        "probe: fp32, micro-batch 8: 0.25 GiB",
        "probe: fp32, micro-batch 8: does not fit",
        "probe: round 1 of at most 6, 3 settings, about 2m30s left",
    ]


def test_groups_are_charged_from_when_they_are_asked_for(probe, plan, pen, tmp_path):
    lost = lost_while_looking(plan, pen, 2)

    probe(lost, lost, finished(pen))

    text = (tmp_path / "probe.jsonl").read_text()
    assert text.count('"started"') == text.count('"ended"') == 3
    assert read_progress(tmp_path).deaths.keys() == {2}
