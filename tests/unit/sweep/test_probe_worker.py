"""A probe in one process: every setting is timed beside the control, and a cut one goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from raymi.specs.loading import load_spec
from raymi.sweep.probe import journal
from raymi.sweep.probe.journal import JOURNAL_FILE, read_probe, read_progress
from raymi.sweep.probe.plan import PLAN_FILE, ProbePlan
from raymi.sweep.probe.worker import probe_worker
from raymi.sweep.runs import RunPlanner
from raymi.sweep.setting import list_settings
from raymi.train.events import read_events
from raymi.train.launcher import SingleProcessLauncher

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def make_plan(tmp_path_factory):
    store_dir = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        spec = load_spec(
            ROOT / "jobs/digits/sweep.yaml",
            [
                "train.resources.num_workers=1",
                "space={precision: [fp32, bf16], batch.micro_batch_size: [8, 16, 32]}",
                "probe.rounds=6",
                "probe.window_s=0.01",
            ],
        )
        settings, reference = list_settings(spec)
        planner = RunPlanner(spec, sweep_id="s", accelerator="cpu", store_dir=store_dir)
        plans = tuple(planner.plan(setting) for setting in settings)

    def make(probe_dir: Path, **fields: object) -> ProbePlan:
        limit = fields.pop("memory_limit_gib", None)
        plan = ProbePlan(
            sweep_id="s",
            probe_dir=str(probe_dir),
            settings=settings,
            plans=plans,
            reference=reference,
            spec=spec.probe.model_copy(update={"memory": False, **fields}),
            num_workers=1,
            cpus_per_worker=1,
            accelerator="cpu",
            memory_limit_gib=limit,
            limit_s=None,
            keeps_slow=True,
            seed=0,
        )
        (probe_dir / PLAN_FILE).write_text(plan.model_dump_json())
        return plan

    return make


@pytest.fixture(scope="module")
def measured(make_plan, tmp_path_factory):
    """A whole probe, and its plan."""
    plan = make_plan(tmp_path_factory.mktemp("probe"), memory=True, memory_limit_gib=8.0)
    return plan, probe(plan)


def probe(plan: ProbePlan):
    probe_worker(plan, SingleProcessLauncher())
    return read_probe(Path(plan.probe_dir))


def test_every_setting_and_the_control_has_a_window_in_each_of_the_first_rounds(measured):
    plan, evidence = measured

    windows = {(w.setting, w.is_control, w.round) for w in evidence.windows}
    everybody = [(s.index, False) for s in plan.settings] + [(plan.reference, True)]
    assert all((*one, number) in windows for one in everybody for number in range(4))


def test_the_order_of_a_round_is_another_in_each(measured):
    _, evidence = measured

    orders = {
        tuple((w.setting, w.is_control) for w in evidence.windows if w.round == number)
        for number in range(4)
    }
    assert len(orders) > 1


def test_a_probe_that_was_cut_off_repeats_only_its_open_round(measured, make_plan, tmp_path):
    plan, _ = measured
    earlier = Path(plan.probe_dir) / JOURNAL_FILE
    lines, events = earlier.read_text().splitlines(keepends=True), read_events(earlier)
    closed = [i for i, e in enumerate(events) if e["event"] == journal.ROUND and e["round"] == 2]
    # Three lines into the fourth round.
    (tmp_path / JOURNAL_FILE).write_text("".join(lines[: closed[0] + 4]))
    kept = read_progress(tmp_path).evidence()

    again = probe(make_plan(tmp_path, memory=True, memory_limit_gib=8.0))

    assert (again.glances, again.memory) == (kept.glances, kept.memory)
    assert [window for window in again.windows if window.round <= 2] == [
        window for window in kept.windows if window.round <= 2
    ]
    assert max(window.round for window in again.windows) == 5


def test_a_hopelessly_slow_precision_is_looked_at_once_and_never_timed(
    make_plan, tmp_path, monkeypatch
):
    from raymi.sweep.probe.rig import Rig

    run = Rig.run

    def slow(self, **steps):
        taken_s = run(self, **steps)
        return taken_s * (80.0 if self.plan.spec.precision == "bf16" else 1.0)

    monkeypatch.setattr(Rig, "run", slow)
    plan = make_plan(tmp_path)

    evidence = probe(plan)

    slow_ones = {s.index for s in plan.settings if s.precision == "bf16"}
    assert set(evidence.failures) == slow_ones
    assert all("slower than fp32" in why for why in evidence.failures.values())
    assert not slow_ones & {window.setting for window in evidence.windows}


def test_what_does_not_fit_is_a_result_and_is_not_timed(make_plan, tmp_path):
    evidence = probe(make_plan(tmp_path, memory=True, memory_limit_gib=0.05))

    assert all("out of memory" in why for why in evidence.failures.values())
    assert all(point.peak_gib is None for point in evidence.memory)
    assert evidence.windows == ()


def test_memory_is_measured_at_three_sizes_of_each_precision(measured):
    _, evidence = measured

    assert [point.micro_batch_size for point in evidence.memory] == [8, 16, 32] * 2
    assert all(0.05 < point.peak_gib < 4.0 for point in evidence.memory)


def test_forward_passes_of_one_row_and_of_every_timed_size_are_timed(measured):
    plan, evidence = measured

    precisions = {s.index: s.precision.value for s in plan.settings}
    found = {(precisions[one.setting], one.num_rows) for one in evidence.latencies}
    assert found == {(p, n) for p in ("fp32", "bf16") for n in (1, 8, 16, 32)}
