"""Whatever was being measured when the workers were lost is left out, and a new group goes on."""

from __future__ import annotations

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
        left, lines = list(works), []
        evidence = run_probe(
            plan, say=lines.append, start=lambda _: MadeUpGroup(left.pop(0)), **options
        )
        assert left == []
        return lines, evidence

    return run


def lost_while_looking(plan, pen, *settings):
    def work() -> None:
        pen.looking([plan.setting(index) for index in settings])
        raise WorkerCrashedError("the worker died unexpectedly")

    return work


def finished(pen):
    return lambda: pen.note("complete")


def test_the_setting_that_was_measured_is_left_out_and_a_new_group_goes_on(probe, plan, pen):
    lines, evidence = probe(lost_while_looking(plan, pen, 2), finished(pen))

    assert evidence.failures == {2: "a worker process was lost while it was probed"}
    assert lines == [f"probe: {plan.setting(2).label}: {evidence.failures[2]}"]


def test_all_settings_that_a_measurement_speaks_for_are_left_out(probe, plan, pen):
    _, evidence = probe(lost_while_looking(plan, pen, 2, 3), finished(pen))

    assert set(evidence.failures) == {2, 3}


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

    run_probe(make_plan(tmp_path, limit_s=0.0), say=print, start=lambda _: pytest.fail("started"))


def test_workers_are_told_to_stop_by_a_file(plan, tmp_path):
    class Endless:
        looks = 0

        def has_ended(self, *, within_s: float) -> bool:
            self.looks += 1
            return (tmp_path / STOP_FILE).exists()

    group = Endless()
    # Asked before the group is started, and after each look.
    answers = iter([False, False, False, True])

    run_probe(plan, say=print, should_stop=lambda: next(answers), start=lambda _: group)

    assert group.looks == 4


def test_progress_is_told_with_the_time_that_is_left(probe, plan, pen):
    def work() -> None:
        pen.note("ready", num_workers=2, machine=[], memory_limit_gib=None, meter=None)
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
    probe(lost_while_looking(plan, pen, 2), finished(pen))

    text = (tmp_path / "probe.jsonl").read_text()
    assert text.count('"started"') == text.count('"ended"') == 2
    assert read_progress(tmp_path).deaths.keys() == {2}
