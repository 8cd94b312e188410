"""One step is the same whoever calls it, and workers outside its group have no part in it."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.nn.parallel import DistributedDataParallel

from raymi.specs.rows import RowSourceName
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from raymi.train.outcome import MODEL_FILE
from raymi.train.plan import TrainPlan
from raymi.train.row_choice import open_rows
from raymi.train.stepper import Stepper
from tests.contract.row_source_contract import GLOBAL_BATCH, make_plan

SETTINGS = [
    {},
    {"precision": "bf16"},
    {"precision": "fp16"},
    {"precision": "bf16_pure", "optimizer": {"rounding": "stochastic"}},
    {"optimizer": {"ema_decay": 0.9, "max_gradient_norm": 0.1}},
]


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> TrainPlan:
    return make_plan(tmp_path_factory.mktemp("rows"), RowSourceName.MEMORY_MAP)


def with_settings(plan: TrainPlan, run_dir: Path, **settings: object) -> TrainPlan:
    spec = plan.spec.model_dump(mode="json", exclude_unset=True) | {"epochs": 2} | settings
    run_dir.mkdir(exist_ok=True)
    return plan.model_copy(
        update={"spec": type(plan.spec).from_document(spec), "run_dir": str(run_dir)}
    )


def build(plan: TrainPlan, **changes: object) -> Stepper:
    arguments = {"rank": 0, "world_size": 1, "total_steps": 14, **changes}
    return Stepper(plan, device=torch.device("cpu"), **arguments)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_steps_alone_give_the_weights_of_a_run(plan, tmp_path, settings):
    plan = with_settings(plan, tmp_path / "run", **settings)
    train_worker(plan, SingleProcessLauncher())
    trained = load_file(tmp_path / "run" / MODEL_FILE)
    rows = open_rows(plan, rank=0, num_workers=1)
    stepper = build(plan, total_steps=2 * rows.steps_per_epoch)
    stepper.wrap()

    for epoch in range(2):
        for step in rows.steps(epoch, 0):
            stepper.step(step)
            stepper.state.step += 1

    weights = stepper.state.weights()
    assert weights.keys() == trained.keys()
    assert all(torch.equal(weights[name], trained[name]) for name in trained)


def test_a_step_says_its_loss_and_leaves_counting_to_the_caller(plan, tmp_path):
    plan = with_settings(plan, tmp_path / "run")
    stepper = build(plan)
    stepper.wrap()
    step = next(open_rows(plan, rank=0, num_workers=1).steps(0, 0))

    loss = stepper.step(step)

    assert loss.num_elements == GLOBAL_BATCH
    assert torch.isfinite(loss.loss_sum)
    assert stepper.state.step == 0


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_worker_of_a_larger_group_computes_alone(plan, tmp_path, second_of_two_ranks, strategy):
    plan = with_settings(plan, tmp_path / "run", parallelism={"strategy": strategy})
    stepper = build(plan)

    stepper.wrap()

    assert stepper.network.module is stepper.state.model
    assert not stepper.state.is_sharded


def test_a_replicated_model_is_averaged_over_its_own_group(plan, tmp_path, second_of_two_ranks):
    group = second_of_two_ranks.get_group()
    stepper = build(with_settings(plan, tmp_path / "run"), rank=1, world_size=2, group=group)

    stepper.wrap()

    assert isinstance(stepper.network.module, DistributedDataParallel)
    assert stepper.network.module.process_group is group


def test_a_sharded_model_is_spread_over_its_own_group(plan, tmp_path, second_of_two_ranks):
    alone = dist.new_group([1])
    plan = with_settings(plan, tmp_path / "run", parallelism={"strategy": "fsdp"})

    stepper = build(plan, group=alone)

    meshes = {parameter.device_mesh.size() for parameter in stepper.state.model.parameters()}
    assert stepper.state.is_sharded
    assert meshes == {1}
