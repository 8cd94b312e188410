"""A probe in one process: every setting is timed beside the control, and a cut one goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from raymi.sweep.evidence import ProbeEvidence
from raymi.sweep.probe import journal
from raymi.sweep.probe.journal import (
    JOURNAL_FILE,
    accelerator_s,
    probe_seconds_by_precision,
    read_probe,
)
from raymi.sweep.probe.plan import ProbePlan
from raymi.sweep.probe.rig import Rig
from raymi.sweep.probe.worker import STOP_FILE, probe_worker
from raymi.train.events import read_events
from raymi.train.launcher import SingleProcessLauncher
from tests.unit.sweep.probe_plans import plan_maker

WITH_MEMORY = {"memory": True, "memory_limit_gib": 8.0}


@pytest.fixture(scope="module")
def make_plan(tmp_path_factory):
    return plan_maker(
        tmp_path_factory.mktemp("store"),
        "space={precision: [fp32, bf16], batch.micro_batch_size: [8, 16, 32]}",
    )


@pytest.fixture(scope="module")
def measured(make_plan, tmp_path_factory):
    """A whole probe, and its plan."""
    plan = make_plan(tmp_path_factory.mktemp("probe"), **WITH_MEMORY)
    return plan, probe(plan)


def probe(plan: ProbePlan) -> ProbeEvidence:
    probe_worker(plan, SingleProcessLauncher())
    return read_probe(Path(plan.probe_dir))


def test_every_setting_and_the_control_has_a_window_in_each_of_the_first_rounds(measured):
    plan, evidence = measured

    windows = {(w.setting, w.is_control, w.round) for w in evidence.windows}
    everybody = [(s.index, False) for s in plan.settings] + [(plan.reference, True)]
    assert all((*one, number) in windows for one in everybody for number in range(4))


def test_memory_is_measured_at_three_sizes_of_each_precision(measured):
    _, evidence = measured

    assert [point.micro_batch_size for point in evidence.memory] == [8, 16, 32] * 2
    assert all(0.05 < point.peak_gib < 4.0 for point in evidence.memory)


def test_forward_passes_of_one_row_and_of_every_timed_size_are_timed(measured):
    plan, evidence = measured

    precisions = {s.index: s.precision.value for s in plan.settings}
    found = {(precisions[one.setting], one.num_rows) for one in evidence.latencies}
    assert found == {(p, n) for p in ("fp32", "bf16") for n in (1, 8, 16, 32)}


def test_what_it_cost_is_known_by_precision(measured):
    plan, _ = measured

    seconds = probe_seconds_by_precision(Path(plan.probe_dir), plan.settings)

    whole_s = accelerator_s(read_events(Path(plan.probe_dir) / JOURNAL_FILE))
    assert set(seconds) == {"fp32", "bf16"}
    assert 0.0 < sum(seconds.values()) <= whole_s


@pytest.mark.parametrize("cut_after", ["memory", "window", "latency"])
def test_a_probe_that_was_cut_off_repeats_nothing_that_was_complete(
    measured, make_plan, tmp_path, cut_after
):
    plan, _ = measured
    earlier = Path(plan.probe_dir) / JOURNAL_FILE
    lines, events = earlier.read_text().splitlines(keepends=True), read_events(earlier)
    places = [i for i, event in enumerate(events) if event["event"] == cut_after]
    middle = places[len(places) // 2]
    (tmp_path / JOURNAL_FILE).write_text("".join(lines[: middle + 1]) + lines[middle + 1][:20])
    kept = read_probe(tmp_path)
    rounds = [event["round"] for event in events[: middle + 1] if event["event"] == journal.ROUND]

    again = probe(make_plan(tmp_path, **WITH_MEMORY))

    kinds = [event["event"] for event in read_events(tmp_path / JOURNAL_FILE)]
    assert kinds.count("ready") == 2
    complete = [window for window in kept.windows if window.round in rounds]
    assert [window for window in again.windows if window.round in rounds] == complete
    for name in ("glances", "memory", "latencies"):
        before, after = getattr(kept, name), getattr(again, name)
        assert after[: len(before)] == before
    assert [point.micro_batch_size for point in again.memory] == [8, 16, 32] * 2
    assert len(again.latencies) == 8
    assert {window.round for window in again.windows} >= set(range(6))


def test_a_probe_that_is_complete_measures_nothing(measured):
    plan, evidence = measured

    assert probe(plan) == evidence


def test_a_hopelessly_slow_precision_is_looked_at_once_and_never_timed(
    make_plan, tmp_path, monkeypatch
):
    run = Rig.run

    def slow(self, **steps):
        taken_s = run(self, **steps)
        return taken_s * (80.0 if self.plan.spec.precision == "bf16" else 1.0)

    monkeypatch.setattr(Rig, "run", slow)
    plan = make_plan(tmp_path)

    evidence = probe(plan)

    slow_ones = {s.index for s in plan.settings if s.precision == "bf16"}
    assert set(evidence.given_up) == slow_ones
    assert all("slower than fp32" in why for why in evidence.given_up.values())
    assert not slow_ones & {window.setting for window in evidence.windows}


def test_what_does_not_fit_is_a_result_and_is_not_timed(make_plan, tmp_path):
    evidence = probe(make_plan(tmp_path, memory=True, memory_limit_gib=0.05))

    assert all("out of memory" in why for why in evidence.failures.values())
    assert all(point.peak_gib is None for point in evidence.memory)
    assert evidence.windows == ()


def test_networks_make_way_for_each_other_where_memory_is_short(measured, make_plan, tmp_path):
    largest = max(point.peak_gib for point in measured[1].memory)

    # One network fits into half of it, and no two do.
    evidence = probe(make_plan(tmp_path, memory=True, memory_limit_gib=2.5 * largest))

    assert evidence.failures == {}
    assert {window.round for window in evidence.windows} == set(range(6))


def test_a_probe_that_is_told_to_stop_measures_nothing_more(make_plan, tmp_path):
    (tmp_path / STOP_FILE).touch()

    evidence = probe(make_plan(tmp_path))

    assert (evidence.glances, evidence.windows) == ((), ())


def test_a_probe_stops_at_its_limit(make_plan, tmp_path):
    probe(make_plan(tmp_path, limit_s=0.5, rounds=100, window_s=0.05))

    events = read_events(tmp_path / JOURNAL_FILE)
    assert accelerator_s(events) < 3.0
    assert "complete" not in {event["event"] for event in events}
