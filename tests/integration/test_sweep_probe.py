"""All settings are timed in one worker group, whatever their number of workers; and where workers
are killed, others go on where they were."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from ray.util import placement_group_table

from raymi.settings import settings as machine_settings
from raymi.specs.loading import load_spec
from raymi.sweep.probe import journal
from raymi.sweep.probe.group import run_probe
from raymi.sweep.probe.journal import JOURNAL_FILE, probe_accelerator_s
from raymi.sweep.probe.on_ray import RayStarter
from raymi.sweep.probe.plan import ProbePlan
from raymi.sweep.runs import RunPlanner
from raymi.sweep.setting import list_settings
from raymi.train import cluster as ray_cluster
from raymi.train.events import read_events
from tests.integration.training_drills import workers_below

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

PATIENCE_S = 60.0
ROUND = 2
"""In which the workers are killed."""


def probe_plan(repository: Path, probe_dir: Path, *, limit_s: float | None = None) -> ProbePlan:
    spec = load_spec(
        repository / "jobs/digits/sweep.yaml",
        [
            f"train.data.root={repository}/jobs/digits",
            "space={batch.micro_batch_size: [8, 32], resources.num_workers: [1, 2]}",
            "probe.rounds=6",
            "probe.window_s=0.05",
        ],
    )
    found, reference = list_settings(spec)
    planner = RunPlanner(
        spec, sweep_id="probed", accelerator="cpu", store_dir=machine_settings().store_dir
    )
    return ProbePlan(
        sweep_id="probed",
        probe_dir=str(probe_dir),
        settings=found,
        plans=tuple(planner.plan(setting) for setting in found),
        reference=reference,
        spec=spec.probe,
        num_workers=2,
        cpus_per_worker=1,
        accelerator="cpu",
        # Too little for two networks in one process: they make way for each other.
        memory_limit_gib=0.8,
        limit_s=limit_s,
        keeps_slow=True,
        seed=0,
    )


@pytest.fixture(scope="module")
def killed(job, cluster, repository, tmp_path_factory):
    """A probe whose first worker is killed while it times one of the settings."""
    ray_cluster.join()
    plan = probe_plan(repository, tmp_path_factory.mktemp("probe"))
    lines: list[str] = []
    victims: list[int] = []
    killer = threading.Thread(target=kill_once, args=(plan, cluster.head_pid, victims))
    killer.start()
    evidence = run_probe(plan, starter=RayStarter(plan), say=lines.append)
    killer.join()
    events = read_events(Path(plan.probe_dir) / JOURNAL_FILE)
    return SimpleNamespace(
        plan=plan, evidence=evidence, events=events, lines=lines, victim=victims[0]
    )


def kill_once(plan: ProbePlan, head_pid: int, victims: list[int]) -> None:
    """Kill all workers while one that is not the reference is timed."""
    path = Path(plan.probe_dir) / JOURNAL_FILE
    deadline_s = time.monotonic() + PATIENCE_S
    while not victims and time.monotonic() < deadline_s:
        closed = [e["round"] for e in read_events(path) if e["event"] == journal.ROUND]
        if ROUND - 1 not in closed:
            time.sleep(0.02)
            continue
        workers = workers_below(head_pid)
        for worker in workers:
            worker.suspend()  # Nothing more is written between the look and the end.
        looked = [i for i in journal.looked_at(read_events(path)) if i != plan.reference]
        victims += looked
        for worker in workers:
            worker.kill() if looked else worker.resume()
        psutil.wait_procs(workers if looked else [], timeout=10)


def test_workers_that_are_killed_once_cost_no_setting(killed):
    suspects = [e["setting"] for e in killed.events if e["event"] == journal.SUSPECTED]

    assert suspects == [killed.victim]
    assert killed.evidence.failures == {}
    assert any("is measured again" in line for line in killed.lines)


def test_one_more_group_was_started_and_repeated_no_complete_round(killed):
    started = [event for event in killed.events if event["event"] == journal.STARTED]
    closed = [event["round"] for event in killed.events if event["event"] == journal.ROUND]

    assert len(started) == 2
    assert closed == sorted(set(closed))


def test_everybody_was_timed_in_the_first_rounds_beside_the_control(killed):
    windows = {(w.setting, w.is_control, w.round) for w in killed.evidence.windows}

    settings = [(setting.index, False) for setting in killed.plan.settings]
    everybody = [*settings, (killed.plan.reference, True)]
    assert {(*one, round_) for one in everybody for round_ in range(4)} <= windows


def test_one_group_timed_settings_of_one_worker_and_of_two(killed):
    workers = {setting.index: setting.num_workers for setting in killed.plan.settings}
    second = max(i for i, e in enumerate(killed.events) if e["event"] == journal.STARTED)
    timed = {
        workers[event["record"]["setting"]]
        for event in killed.events[second:]
        if event["event"] == journal.WINDOW
    }

    assert timed == {1, 2}


def test_it_says_how_long_it_will_take_and_what_it_cost(killed):
    held_s = killed.events[-1]["time"] - killed.events[0]["time"]

    assert any("left" in line for line in killed.lines)
    assert 0.0 < probe_accelerator_s(Path(killed.plan.probe_dir)) <= 2 * held_s


def test_what_is_complete_is_not_started_again(killed):
    again = run_probe(killed.plan, starter=RayStarter(killed.plan), say=lambda line: None)

    assert again == killed.evidence


def test_workers_that_are_still_starting_when_the_budget_ends_are_killed_and_free_their_places(
    job, cluster, repository, tmp_path
):
    ray_cluster.join()
    plan = probe_plan(repository, tmp_path, limit_s=2.0)

    evidence = run_probe(plan, starter=RayStarter(plan), say=lambda line: None)

    assert evidence.windows == ()
    _, alive = psutil.wait_procs(workers_below(cluster.head_pid), timeout=10)
    assert alive == []
    # Starting takes two workers several times as long.
    assert probe_accelerator_s(tmp_path) < 12.0
    assert [g for g in placement_group_table().values() if g["state"] != "REMOVED"] == []
