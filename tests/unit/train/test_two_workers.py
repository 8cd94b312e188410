"""Two workers together do what one does alone, in whichever group they meet."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from raymi.data.version import Split
from raymi.models.architecture import Architecture
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from raymi.train.noise_scale import NoiseMeter
from raymi.train.outcome import MODEL_FILE
from raymi.train.plan import TrainPlan
from raymi.train.row_choice import open_rows
from raymi.train.row_scores import load_row_scores
from raymi.train.stepper import Stepper

WORKER = """
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.launcher import TorchrunLauncher
from raymi.train.loop import train_worker
from raymi.train.plan import TrainPlan
from raymi.train.row_choice import open_rows
from raymi.train.stepper import Stepper

launcher = TorchrunLauncher(backend="gloo")
alone = [dist.new_group([rank]) for rank in range(2)][launcher.rank]
both = dist.new_group([0, 1])


def step_through(plan, world_size, rank, group):
    rows = open_rows(plan, rank=rank, num_workers=world_size)
    total_steps = rows.steps_per_epoch * plan.spec.epochs
    stepper = Stepper(
        plan,
        device=launcher.device,
        rank=rank,
        world_size=world_size,
        total_steps=total_steps,
        group=group,
    )
    stepper.wrap()
    for epoch in range(plan.spec.epochs):
        for step in rows.steps(epoch, 0):
            stepper.step(step)
            stepper.state.step += 1
    return stepper.state.weights()


for argument in sys.argv[1:]:
    plan = TrainPlan.load(Path(argument))
    train_worker(plan, launcher)
    plan = plan.model_copy(update={"measures_noise": False})
    for name, weights in (
        ("no-group", step_through(plan, 1, 0, None)),
        ("own-group", step_through(plan, 1, 0, alone)),
        ("sub-group", step_through(plan, 2, launcher.rank, both)),
    ):
        if weights:
            save_file(weights, f"{plan.run_dir}/{name}.{launcher.rank}.safetensors")
"""

ONE_PASS = {"batch": {"global_batch_size": 16, "micro_batch_size": 8}}

SETTINGS: dict[str, tuple[str, dict[str, object]]] = {
    "ddp": ("shape", {}),
    "compressed": ("shape", {"parallelism": {"gradient_compression": "bf16"}}),
    "fsdp": ("price", {"parallelism": {"strategy": "fsdp"}, "optimizer": {"ema_decay": 0.9}}),
    "text": ("note", {}),
    # One micro-batch for each worker: noise is heard while gradients are averaged.
    "single_pass": ("shape", ONE_PASS),
    "single_pass_compressed": (
        "shape",
        {**ONE_PASS, "parallelism": {"gradient_compression": "bf16"}},
    ),
    "single_pass_sharded": ("shape", {**ONE_PASS, "parallelism": {"strategy": "fsdp"}}),
}


def plan_of(finished, run_dir: Path, **settings: object) -> TrainPlan:
    run_dir.mkdir()
    network = finished.result.architecture
    changes = {"resources": {"num_workers": 2}, "epochs": 3, **settings}
    plan = TrainPlan(
        run_id=run_dir.name,
        run_dir=str(run_dir),
        spec=TrainSpec.from_document(finished.result.spec | changes),
        dataset=finished.dataset,
        dataset_dir=str(next((finished.store_dir / "datasets" / "things").iterdir())),
        preprocessing=finished.result.preprocessing,
        architecture=Architecture(
            name=network.name,
            # What dropout leaves out depends on the rank.
            arguments=network.arguments | {"dropout": 0.0},
        ),
        accelerator="cpu",
        micro_batch_size=8,
        row_source=RowSourceName.MEMORY_MAP,
        row_scores=(Split.VALIDATION, Split.TEST),
        measures_noise=True,
    )
    plan.save(run_dir / "plan.json")
    return plan


@pytest.fixture(scope="module")
def runs(make_run, tmp_path_factory) -> dict[str, TrainPlan]:
    """Each setting trained by two workers, and stepped through in groups of one and two.

    Noise is measured while it is trained, and not while it is stepped through.
    """
    directory = tmp_path_factory.mktemp("two")
    plans = {
        name: plan_of(make_run(target), directory / name, **settings)
        for name, (target, settings) in SETTINGS.items()
    }
    # One test row for two workers: the second has none, and still has to keep company.
    plans["one_row"] = plan_of(
        make_run("shape", test_share=0.005),
        directory / "one_row",
        parallelism={"strategy": "fsdp"},
    )
    script = directory / "worker.py"
    script.write_text(WORKER)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
         str(script), *(f"{plan.run_dir}/plan.json" for plan in plans.values())],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        timeout=120,
    )  # fmt: skip
    return plans


@pytest.fixture
def alone(runs, tmp_path, request) -> tuple[TrainPlan, TrainPlan]:
    """A run of two workers, and the same by one in this process."""
    pair = runs[request.param]
    spec = pair.spec.model_copy(
        update={"resources": pair.spec.resources.model_copy(update={"num_workers": 1})}
    )
    single = pair.model_copy(update={"spec": spec, "run_dir": str(tmp_path)})
    train_worker(single, SingleProcessLauncher())
    return pair, single


def saved(plan: TrainPlan, name: str) -> dict[str, torch.Tensor]:
    return load_file(Path(plan.run_dir) / name)


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("alone", ["ddp", "fsdp", "text", "one_row"], indirect=True)
@pytest.mark.parametrize("split", [Split.VALIDATION, Split.TEST])
def test_two_workers_score_the_rows_as_one_does(alone, split):
    pair, single = (load_row_scores(Path(plan.run_dir), split) for plan in alone)

    assert pair.keys() == single.keys()
    for name, values in single.items():
        assert pair[name] == pytest.approx(values, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", SETTINGS)
def test_steps_in_a_group_of_two_give_the_weights_of_the_run(runs, name):
    assert_equal(saved(runs[name], "sub-group.0.safetensors"), saved(runs[name], MODEL_FILE))


@pytest.mark.parametrize("alone", SETTINGS, indirect=True)
@pytest.mark.parametrize("group", ["no-group", "own-group"])
def test_a_worker_that_computes_alone_gets_the_weights_of_a_run_of_one(alone, group):
    pair, single = alone

    trained = saved(single, MODEL_FILE)
    # Torch gathers what is sharded on the first rank of all.
    for path in Path(pair.run_dir).glob(f"{group}.*.safetensors"):
        weights = load_file(path)
        for name, tensor in trained.items():
            assert np.allclose(weights[name], tensor, rtol=1e-5, atol=1e-6)


def noise_events(plan: TrainPlan) -> list[dict[str, float]]:
    events = read_events(Path(plan.run_dir) / EVENTS_FILE)
    return [event for event in events if event["event"] == "noise_scale"]


def mean_squares(plan: TrainPlan) -> tuple[float, float]:
    """Of the gradients of both workers' first micro-batches and of whole steps, by one worker."""
    batch_size = plan.spec.batch.global_batch_size
    rows = open_rows(plan, rank=0, num_workers=1)
    total_steps = rows.steps_per_epoch * plan.spec.epochs
    device = torch.device("cpu")
    stepper = Stepper(plan, device=device, rank=0, world_size=1, total_steps=total_steps)
    stepper.wrap()
    meter = NoiseMeter(global_batch_size=batch_size, device=device)
    small, large = [], []
    for number in range(total_steps):
        epoch, first = divmod(number, rows.steps_per_epoch)
        step = next(rows.steps(epoch, first))
        if meter.starts(number, step.num_rows):
            per_worker = len(step.batches) // 2
            small += [square_of(stepper, [batch]) for batch in step.batches[::per_worker]]
            large.append(square_of(stepper, step.batches))
        stepper.step(step)
        stepper.state.step += 1
    return float(np.mean(small)), float(np.mean(large))


def square_of(stepper: Stepper, batches) -> float:
    """Of the gradient of the mean loss of some micro-batches."""
    model = stepper.state.model
    losses = [stepper.criterion.loss_sum(model(stepper.inputs(b.arrays)), b) for b in batches]
    mean = sum(losses) / stepper.criterion.num_elements(batches)
    return sum(float(g.square().sum()) for g in torch.autograd.grad(mean, model.parameters()))


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("ddp", 1e-3), ("text", 1e-3), ("single_pass", 1e-3), ("single_pass_compressed", 0.02)],
)
def test_noise_is_what_the_first_micro_batches_of_both_workers_say(runs, name, tolerance):
    plan = runs[name]
    rows = plan.spec.batch.global_batch_size

    [found] = noise_events(plan)

    # The model that the estimate inverts.
    small = found["gradient_square"] + found["noise_trace"] / plan.micro_batch_size
    large = found["gradient_square"] + found["noise_trace"] / rows
    assert (small, large) == pytest.approx(mean_squares(plan), rel=tolerance)


@pytest.mark.parametrize("name", ["fsdp", "single_pass_sharded"])
def test_sharded_gradients_are_not_measured(runs, name):
    assert noise_events(runs[name]) == []
