"""At the end of a budget, runs are killed at once, and what they held is free for others."""

from __future__ import annotations

import time

import psutil
import pytest
from ray.util import placement_group_table

from raymi.accelerators.catalog import find
from raymi.settings import settings
from raymi.specs.loading import load_spec
from raymi.sweep.evidence import Purpose, RunStatus
from raymi.sweep.runs import RunPlanner
from raymi.sweep.setting import list_settings
from raymi.sweep.tuner import OUT_OF_BUDGET, Tuning, run_all
from raymi.train import cluster as ray_cluster
from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.planning import ensure_run
from raymi.train.provenance import collect_provenance
from tests.integration.training_drills import workers_below

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

PATIENCE_S = 5.0
"""Ray alone waits for ten seconds before it kills a trial."""


class Purse:
    """Says stop as soon as a run has written some event."""

    def __init__(self, run, kind: str) -> None:
        self._events = run.run_dir / EVENTS_FILE
        self._kind = kind
        self.empty_at: float | None = None

    def should_stop(self) -> bool:
        kinds = {event["event"] for event in read_events(self._events)}
        if self.empty_at is None and self._kind in kinds:
            self.empty_at = time.monotonic()
        return self.empty_at is not None

    def started(self, run) -> None:
        """Nothing to do."""

    def ended(self, run, outcome) -> None:
        """Nothing to do."""


@pytest.fixture(scope="module")
def plan_run(job, cluster, repository):
    """Plan a run of the digits that takes minutes."""
    ray_cluster.join()
    root = f"train.data.root={repository}/jobs/digits"
    spec = load_spec(repository / "jobs/digits/sweep.yaml", [root, "train.epochs=5000"])
    [setting, *_], _ = list_settings(spec)

    def plan_run(name):
        store_dir = settings().store_dir
        planner = RunPlanner(spec, sweep_id=name, accelerator="cpu", store_dir=store_dir)
        run = planner.run(setting, number=0, purpose=Purpose.QUALITY)
        ensure_run(run.plan)
        return run

    return plan_run


@pytest.mark.parametrize("kind", ["starting", "attempt"])
def test_a_run_is_killed_while_it_starts_and_while_it_trains(
    plan_run, cluster, repository, tmp_path, kind
):
    run = plan_run(f"stopped-while-{kind}")
    purse = Purse(run, kind)
    quality = load_spec(repository / "jobs/digits/sweep.yaml").quality
    tuning = Tuning(
        directory=tmp_path / "tune",
        trials_dir=tmp_path,
        num_concurrent=1,
        metric="accuracy",
        higher_is_better=True,
        quality=quality,
    )

    provenance = collect_provenance(find("cpu"), code_package=None)
    [outcome] = run_all([run], tuning, provenance=provenance, watcher=purse)

    assert (outcome.status, outcome.reason) == (RunStatus.STOPPED, OUT_OF_BUDGET)
    assert time.monotonic() - purse.empty_at < PATIENCE_S
    _, alive = psutil.wait_procs(workers_below(cluster.head_pid), timeout=PATIENCE_S)
    assert alive == []
    assert [g for g in placement_group_table().values() if g["state"] != "REMOVED"] == []
