"""A sweep ends whatever its runs do: every setting is a row with a reason, the receipt holds, and
nothing stays behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ray.util import placement_group_table

from raymi.settings import settings
from raymi.specs.loading import load_spec
from raymi.sweep import stage
from raymi.sweep.receipt import Receipt
from raymi.sweep.workspace import RECEIPT_FILE
from raymi.train.events import EVENTS_FILE, read_events

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

# Each run is as large as the cluster: with Tune's own defaults, trials and their workers would
# wait for each other for ever. One learns, one stands still, one flies apart.
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
  batch: {{global_batch_size: 16, micro_batch_size: 8}}
  resources: {{num_workers: 2}}
  optimizer: {{name: sgd, learning_rate: 1.0e-2, max_gradient_norm: null}}
  epochs: 6
space:
  optimizer.learning_rate: [1.0e-2, 1.0e-9, 1.0e+30]
  precision: [fp32, tf32]
objective: quality
constraints: {{max_quality_loss: 0.05}}
probe: {{rounds: 6, window_s: 0.05, memory: false}}
quality: {{seeds: 2, finalists: 1, confirm_seeds: 1, scheduler: asha}}
"""
RELEASE_TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def sweep(job, repository, tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "sweep.yaml"
    path.write_text(SWEEP.format(repository=repository))
    return stage.run(load_spec(path), store_dir=settings().store_dir, say=lambda line: None)


@pytest.fixture(scope="module")
def receipt(sweep):
    return Receipt.load(Path(sweep.sweep_dir) / RECEIPT_FILE)


def test_every_setting_is_a_row_with_its_reason(receipt):
    rows = {
        (setting.learning_rate, setting.precision.value): verdict
        for setting, verdict in zip(
            receipt.evidence.settings, receipt.decision.verdicts, strict=True
        )
    }

    assert rows[1e-2, "fp32"].standing == "winner"
    assert rows[1e30, "fp32"].standing in ("rejected", "failed")
    assert all("tf32" in rows[rate, "tf32"].why for rate in (1e-2, 1e-9, 1e30))


def test_the_run_that_learned_is_the_one_to_register(sweep):
    assert sweep.winner.metrics["accuracy"] > 0.9
    assert sweep.winner.spec["optimizer"]["learning_rate"] == 1e-2


def test_the_decision_follows_from_the_receipt_alone(sweep):
    assert Receipt.verify(Path(sweep.sweep_dir) / RECEIPT_FILE) == ()


def test_runs_are_in_pairs_of_the_same_seed(receipt):
    seeds = {}
    for run in receipt.evidence.runs:
        seeds.setdefault((run.purpose.value, run.numerics), set()).add(run.seed)

    reference = receipt.evidence.settings[receipt.evidence.reference].numerics
    assert all(found <= seeds[purpose, reference] for (purpose, _), found in seeds.items())


def test_what_happened_is_there_for_a_console(sweep):
    kinds = [event["event"] for event in read_events(Path(sweep.sweep_dir) / EVENTS_FILE)]

    assert kinds[0] == "sweep_started"
    assert kinds[-1] == "decided"
    assert {"probe_started", "probe_ended", "front", "run_started", "run_ended"} <= set(kinds)


def test_no_run_leaves_its_place_reserved(sweep):
    deadline_s = time.monotonic() + RELEASE_TIMEOUT_S
    while reserved_places() and time.monotonic() < deadline_s:
        time.sleep(0.2)

    assert reserved_places() == []


def reserved_places():
    return [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
