"""On a cluster a run has the numbers it has in one process, and its end has a reason."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import psutil
import pytest

from raymi.errors import InfeasibleError, TrainingError
from raymi.settings import settings
from raymi.specs.data import Split
from raymi.specs.loading import load_spec
from raymi.train import stage
from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import MODEL_FILE, train_worker
from raymi.train.plan import TrainPlan

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

# Seconds long on two CPUs, so that there is a middle; the last step of an epoch is ragged.
TWO_WORKERS = (
    "resources.num_workers=2",
    "batch.global_batch_size=32",
    "batch.micro_batch_size=4",
    "checkpoint.every_steps=10",
    "epochs=2",
    "model.dropout=0",
)
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
def digits(job, repository):
    """Make a spec of the digits from `path=value` changes."""

    def digits(*changes):
        root = f"data.root={repository}/jobs/digits"
        return load_spec(repository / "jobs/digits/train.yaml", [root, *changes])

    return digits


@pytest.fixture(scope="module")
def undisturbed(digits):
    return train(digits(*TWO_WORKERS))


def train(spec, say=lambda line: None):
    return stage.run(spec, store_dir=settings().store_dir, say=say)


def run_dirs():
    return sorted((settings().store_dir / "runs").glob("*"))


def events_of(run_dir, kind):
    return [event for event in read_events(Path(run_dir) / EVENTS_FILE) if event["event"] == kind]


def losses(run_dir):
    """The loss curve: means over all ranks, at the end of each epoch."""
    return [
        value
        for event in events_of(run_dir, "epoch")
        for value in (event["train_loss"], event["loss"])
    ]


def digest(run_dir):
    return hashlib.sha256((Path(run_dir) / MODEL_FILE).read_bytes()).hexdigest()


class Murder:
    """Reads a run's progress, and kills one of its workers once, soon after a checkpoint."""

    def __init__(self, head_pid):
        self._head = psutil.Process(head_pid)
        self.victims = []

    def __call__(self, line):
        if line.startswith("run "):
            run_id = line.split()[1].rstrip(":")
            run_dir = settings().store_dir / "runs" / run_id
            threading.Thread(target=self._strike, args=(run_dir,)).start()

    def _strike(self, run_dir):
        # Two, because the newest may be lost with the worker that reports it.
        while len(events_of(run_dir, "checkpoint")) < 2:
            if events_of(run_dir, "failure") or events_of(run_dir, "finished"):
                return
            time.sleep(0.02)
        workers = [
            process
            for process in self._head.children(recursive=True)
            if "RayTrainWorker" in " ".join(process.cmdline())
        ]
        workers[-1].kill()
        self.victims.append(workers[-1])


def test_two_workers_draw_the_loss_curve_of_one_process(undisturbed, digits, tmp_path):
    spec = digits(*TWO_WORKERS, "resources.num_workers=1")
    plan: TrainPlan = stage.make_plan(
        spec, run_id="alone", accelerator="cpu", store_dir=settings().store_dir
    ).model_copy(update={"run_dir": str(tmp_path)})

    train_worker(plan, SingleProcessLauncher())

    assert plan.dataset.num_rows(Split.TRAIN) % spec.batch.global_batch_size != 0
    assert len(losses(tmp_path)) == 4
    assert losses(undisturbed.run_dir) == pytest.approx(losses(tmp_path), rel=1e-5)


def test_a_killed_worker_costs_time_and_nothing_else(undisturbed, digits, cluster):
    murder = Murder(cluster.head_pid)

    result = train(digits(*TWO_WORKERS), say=murder)

    [failure] = events_of(result.run_dir, "failure")
    steps = [event["step"] for event in events_of(result.run_dir, "attempt")]
    steps_per_epoch = events_of(result.run_dir, "epoch")[0]["step"]
    assert len(murder.victims) == 1
    assert (failure["reason"], failure["policy"], result.attempts) == ("worker_died", "retry", 2)
    assert steps[0] == 0
    assert steps[1] % steps_per_epoch != 0
    assert digest(result.run_dir) == digest(undisturbed.run_dir)


def test_a_diverged_run_is_not_tried_again(digits):
    leap = "optimizer={name: sgd, learning_rate: 1.0e+30, max_gradient_norm: null}"

    with pytest.raises(TrainingError) as caught:
        train(digits(*ONE_WORKER, leap))

    [failure] = events_of(run_dirs()[-1], "failure")
    assert caught.value.reason == failure["reason"] == "diverged"
    assert failure["policy"] == "stop"
    assert "is nan" in caught.value.why


def test_an_exception_in_the_network_is_named(digits, job):
    Path("broken_network.py").write_text(BROKEN_NETWORK)

    with pytest.raises(TrainingError) as caught:
        train(digits(*ONE_WORKER, "problem=broken_network", "model={}"))

    assert caught.value.reason == "error"
    assert caught.value.why == "ZeroDivisionError: somebody divided by nothing"


def test_more_workers_than_can_be_placed_are_refused_and_nothing_starts(digits):
    before = run_dirs()

    with pytest.raises(InfeasibleError, match="3 workers"):
        train(digits("resources.num_workers=3", "batch.global_batch_size=96"))

    assert run_dirs() == before
