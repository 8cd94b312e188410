"""A sweep ends whatever its trials do: every trial is a row, and nothing of it stays behind."""

from __future__ import annotations

import time

import pytest
from ray.util import placement_group_table

from raymi.settings import settings
from raymi.specs.loading import load_spec
from raymi.sweep import stage

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

# Three trials that start, each as large as the cluster: one good, one that stands still, one that
# flies apart. Epochs are long enough for the scheduler to hear of them, and more than enough.
SWEEP = """
kind: sweep
train:
  name: digits
  problem: jobs.digits.problem
  data:
    name: digits
    root: {repository}/jobs/digits
    sources: [{{path: digits.parquet}}]
    target: label
  batch: {{global_batch_size: 16, micro_batch_size: 2}}
  resources: {{num_workers: 2}}
  optimizer: {{name: sgd, max_gradient_norm: null}}
  epochs: 6
space:
  optimizer.learning_rate: [1.0e-2, 1.0e-9, 1.0e+30]
  precision: [fp32, tf32]
objective: quality
scheduler: {{name: asha}}
"""
RELEASE_TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def sweep(job, repository, tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "sweep.yaml"
    path.write_text(SWEEP.format(repository=repository))
    return stage.run(load_spec(path), store_dir=settings().store_dir, say=lambda line: None)


def test_every_trial_is_a_row_with_its_reason(sweep):
    rows = [
        (trial.point["optimizer.learning_rate"], trial.precision, trial.status, trial.reason)
        for trial in sweep.trials
    ]

    assert rows == [
        (1e-2, "fp32", "SUCCEEDED", None),
        (1e-2, "tf32", "FAILED", "unsupported_precision"),
        (1e-9, "fp32", "STOPPED", "stopped_early"),
        (1e-9, "tf32", "FAILED", "unsupported_precision"),
        (1e30, "fp32", "FAILED", "diverged"),
        (1e30, "tf32", "FAILED", "unsupported_precision"),
    ]


def test_the_trial_that_learned_wins(sweep):
    assert sweep.decision.winner == 0
    assert sweep.winner.metrics["accuracy"] > 0.9


def test_no_trial_leaves_its_place_reserved(sweep):
    deadline_s = time.monotonic() + RELEASE_TIMEOUT_S
    while reserved_places() and time.monotonic() < deadline_s:
        time.sleep(0.2)

    assert reserved_places() == []


def reserved_places():
    return [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
