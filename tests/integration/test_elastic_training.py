"""A run of one or two workers goes on without a node it has lost, and takes it back."""

from __future__ import annotations

import pytest

from raymi.settings import settings
from raymi.train import stage, worker_group
from raymi.train.cluster import join
from raymi.train.cluster import nodes as live_nodes
from raymi.train.interruption import LEAVE_FILE
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from tests.integration.conftest import running_head, start_node, stop
from tests.integration.training_drills import (
    TWO_WORKERS,
    digits,
    events_of,
    losses,
    train,
    wait_for,
    wait_for_events,
    workers_below,
)

pytestmark = [pytest.mark.ray, pytest.mark.drill, pytest.mark.timeout(280)]

ELASTIC = (*TWO_WORKERS, "resources.num_workers={min: 1, max: 2}")

QUICK_TO_NOTICE = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


@pytest.fixture(scope="module")
def cluster(home, repository, token):
    """A head with one CPU."""
    with running_head(repository, token, num_cpus=1, variables=QUICK_TO_NOTICE) as head:
        yield head


@pytest.fixture
def nodes(cluster):
    """Starts further nodes of one CPU each; those that are left end with the test."""
    started = []

    def start():
        started.append(start_node(cluster, num_cpus=1))
        return started[-1]

    yield start
    for node in started:
        stop(node)


def test_a_run_shrinks_with_its_cluster_and_grows_again(
    job, cluster, repository, nodes, monkeypatch, tmp_path
):
    monkeypatch.setattr(worker_group, "LEAST_STAY_S", 0.0)
    monkeypatch.setattr(worker_group, "GROWTH_INTERVAL_S", 0.5)
    spec = digits(repository, *ELASTIC)
    second = nodes()
    join()
    wait_for(lambda: num_cpus() == 2, "the second node")

    def lose_a_node_for_a_while(run_dir):
        wait_for_events(run_dir, "checkpoint", 2)
        stop(second)
        wait_for_events(run_dir, "attempt", 2)
        [worker] = workers_below(cluster.head_pid)
        worker.suspend()  # A node takes seconds to start, and the run has few.
        nodes()
        wait_for((run_dir / LEAVE_FILE).exists, "the driver to see it")
        worker.resume()

    result = train(spec, meanwhile=lose_a_node_for_a_while)
    plan = stage.make_plan(
        spec, run_id="alone", accelerator="cpu", store_dir=settings().store_dir
    ).model_copy(update={"run_dir": str(tmp_path)})
    train_worker(plan, SingleProcessLauncher())

    failures = events_of(result.run_dir, "failure")
    attempts = events_of(result.run_dir, "attempt")
    [left] = events_of(result.run_dir, "left")
    saved = [event["step"] for event in events_of(result.run_dir, "checkpoint")]
    assert failures[0]["reason"] in ("node_lost", "worker_died")
    assert {failure["policy"] for failure in failures} == {"retry"}
    assert [attempt["num_workers"] for attempt in attempts] == [2, 1, 2]
    assert attempts[1]["step"] in saved
    assert left["cause"] == "resize"
    assert attempts[2]["step"] == left["step"]
    assert losses(result.run_dir) == pytest.approx(losses(tmp_path), rel=1e-4)


def num_cpus():
    return sum(node["CPU"] for node in live_nodes())
