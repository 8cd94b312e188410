"""A run that flies apart stops at the next meeting, by name, and nobody tries it again."""

import pytest

from raymi.errors import TrainingError
from raymi.models.architecture import Architecture
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.failure import Allowance, Policy, Tally, classify, decide
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from raymi.train.outcome import MODEL_FILE, OUTCOME_FILE
from tests.contract.row_source_contract import make_plan

# A finite loss whose gradient is not: the root of nothing rises infinitely steeply.
STEEP_NETWORK = """
from torch import nn


class Steep(nn.Module):
    def __init__(self, preprocessing):
        super().__init__()
        self.head = nn.Linear(3, preprocessing.num_outputs)

    def forward(self, inputs):
        outputs = self.head(inputs["numbers"])
        return outputs + (0.0 * self.head.bias).abs().sqrt().sum()
"""

MLP = Architecture(name="mlp", arguments={"hidden": [16], "dropout": 0.0})
STEEP = Architecture(name="steep:Steep")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return make_plan(tmp_path_factory.mktemp("rows"), RowSourceName.MEMORY_MAP)


@pytest.fixture
def failure_of(plan, tmp_path, monkeypatch):
    """Train, and give what it failed with and what it has logged."""
    (tmp_path / "steep.py").write_text(STEEP_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)

    def failure_of(architecture, **changes):
        spec = TrainSpec.from_document(plan.spec.to_document() | changes)
        run = plan.model_copy(
            update={"run_dir": str(tmp_path), "spec": spec, "architecture": architecture}
        )
        with pytest.raises(TrainingError) as caught:
            train_worker(run, SingleProcessLauncher())
        return caught.value

    yield failure_of
    assert not (tmp_path / MODEL_FILE).exists()
    assert not (tmp_path / OUTCOME_FILE).exists()


def test_a_loss_that_is_no_number(failure_of):
    leap = {"name": "sgd", "learning_rate": 1e30, "max_gradient_norm": None}

    assert failure_of(MLP, optimizer=leap).reason == "diverged"


def test_gradients_that_are_no_numbers(failure_of):
    error = failure_of(STEEP, health={"max_bad_steps": 3}, epochs=2)

    assert error.reason == "non_finite_gradients"
    assert "at step 3" in error.why


def test_a_loss_scale_that_falls_and_falls(failure_of):
    error = failure_of(STEEP, precision="fp16", health={"max_bad_steps": 3}, epochs=2)

    assert error.reason == "loss_scale_collapsed"
    assert "bf16" in error.fix


def test_a_loss_that_rises_far_above_where_it_started(failure_of, tmp_path):
    rising_rate = {
        "optimizer": {"name": "sgd", "learning_rate": 100.0, "max_gradient_norm": None},
        "schedule": {"warmup_fraction": 0.99},
    }

    error = failure_of(MLP, epochs=100, **rising_rate)

    assert error.reason == "loss_spike"
    curve = [e["train_loss"] for e in read_events(tmp_path / EVENTS_FILE) if e["event"] == "epoch"]
    assert min(curve) < curve[0] < curve[-1]


@pytest.mark.parametrize(
    "reason", ["diverged", "non_finite_gradients", "loss_scale_collapsed", "loss_spike"]
)
def test_none_of_them_is_tried_again(reason):
    error = TrainingError("x", reason=reason, why="y", fix="z")
    patient = Allowance(max_failures=9, max_shrinks=9)

    assert decide(classify(error), Tally(micro_batch_size=8), patient) is Policy.STOP
