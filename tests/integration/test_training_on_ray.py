"""On a cluster a run has the numbers it has in one process, and its end has a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from raymi.errors import InfeasibleError, TrainingError
from raymi.settings import settings
from raymi.specs.data import Split
from raymi.train import stage
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from raymi.train.plan import TrainPlan
from tests.integration.training_drills import (
    TWO_WORKERS,
    digits,
    losses,
    train,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

ONE_WORKER = ("resources.num_workers=1", "epochs=1")

BROKEN_NETWORK = """
from torch import nn

from raymi.models.architecture import Architecture
from raymi.train.problem import Problem


class Net(nn.Module):
    def __init__(self, preprocessing):
        super().__init__()
        self.head = nn.Linear(64, preprocessing.num_outputs)

    def forward(self, inputs):
        raise ZeroDivisionError("somebody divided by nothing")


problem = Problem(architecture=Architecture(name="broken_network:Net"))
"""


@pytest.fixture(scope="module")
def spec_of(job, repository):
    """Make a spec of the digits from `path=value` changes."""
    return lambda *changes: digits(repository, *changes)


def test_two_workers_draw_the_loss_curve_of_one_process(spec_of, tmp_path):
    spec = spec_of(*TWO_WORKERS, "resources.num_workers=1")
    plan: TrainPlan = stage.make_plan(
        spec, run_id="alone", accelerator="cpu", store_dir=settings().store_dir
    ).model_copy(update={"run_dir": str(tmp_path)})

    train_worker(plan, SingleProcessLauncher())

    assert plan.dataset.num_rows(Split.TRAIN) % spec.batch.global_batch_size != 0
    assert len(losses(tmp_path)) == 4
    assert losses(train(spec_of(*TWO_WORKERS)).run_dir) == pytest.approx(losses(tmp_path), rel=1e-5)


def test_an_exception_in_the_network_is_named(spec_of):
    Path("broken_network.py").write_text(BROKEN_NETWORK)

    with pytest.raises(TrainingError) as caught:
        train(spec_of(*ONE_WORKER, "problem=broken_network", "model={}"))

    assert caught.value.reason == "error"
    assert caught.value.why == "ZeroDivisionError: somebody divided by nothing"


def test_more_workers_than_can_be_placed_are_refused_and_nothing_starts(spec_of):
    runs = settings().store_dir / "runs"
    before = set(runs.glob("*"))

    with pytest.raises(InfeasibleError, match="3 workers"):
        train(spec_of("resources.num_workers=3", "batch.global_batch_size=96"))

    assert set(runs.glob("*")) == before
