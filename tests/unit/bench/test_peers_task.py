"""What the other libraries train on is what Raymi trains on."""

from itertools import islice

import pytest
import torch

from raymi.bench.task import Task, choose_precision, prepare_task
from raymi.errors import CapabilityError
from raymi.models.catalog import build_model
from raymi.specs.precision import Precision
from raymi.train.plan import TrainPlan

NUM_WORKERS, MICRO, ACCUMULATION = 2, 8, 2


SETTINGS = {
    "batch": {
        "global_batch_size": NUM_WORKERS * MICRO * ACCUMULATION,
        "micro_batch_size": MICRO,
    },
    "resources": {"num_workers": NUM_WORKERS},
}


@pytest.fixture(scope="module")
def plan(plan_of, classifier_run) -> TrainPlan:
    return plan_of(classifier_run, **SETTINGS)


@pytest.fixture(scope="module")
def task(plan) -> Task:
    return prepare_task(plan)


def rows_of(task: Task, rank: int) -> list[list[int]]:
    return [batch.tolist() for batch in task.batches(rank=rank, num_ranks=NUM_WORKERS)]


def test_the_network_is_raymis_with_the_weights_of_the_seed(plan, task):
    torch.manual_seed(plan.spec.seed)
    ours = build_model(plan.architecture, plan.preprocessing)

    theirs = task.model.state_dict()
    assert ours.state_dict().keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.state_dict().items())


def test_a_batch_is_the_rows_asked_for_prepared_as_for_raymi(plan, task):
    rows = torch.tensor([5, 0, 17])

    inputs, targets = task.rows[rows]

    whole = task.rows.inputs
    assert all(torch.equal(inputs[name], whole[name][[5, 0, 17]]) for name in whole)
    assert len(targets) == 3
    assert torch.isfinite(task.loss(task.model(inputs), targets))


def test_workers_share_an_epoch_without_overlap_in_whole_steps(task):
    shares = [rows_of(task, rank) for rank in range(NUM_WORKERS)]

    seen = [row for share in shares for batch in share for row in batch]
    assert len(seen) == len(set(seen)) == task.steps_per_epoch * 32
    assert all(len(share) == task.steps_per_epoch * ACCUMULATION for share in shares)


def test_every_epoch_has_another_order(task):
    batches = task.batches()

    assert not torch.equal(next(iter(batches)), next(iter(batches)))


def test_the_loader_gives_what_the_rows_give(task):
    batches = task.batches()
    chosen = next(iter(task.batches()))

    inputs, targets = next(islice(task.loader(batches), 1))

    expected_inputs, expected_targets = task.rows[chosen]
    assert torch.equal(targets, expected_targets)
    assert all(torch.equal(inputs[name], expected_inputs[name]) for name in inputs)


def test_accelerates_shards_are_the_same_shares(task):
    data_loader = pytest.importorskip("accelerate.data_loader")

    for rank in range(NUM_WORKERS):
        shard = data_loader.BatchSamplerShard(
            task.batches(), num_processes=NUM_WORKERS, process_index=rank
        )
        assert [batch.tolist() for batch in shard] == rows_of(task, rank)


def test_a_regression_has_its_own_loss(plan_of, regression_run):
    task = prepare_task(plan_of(regression_run, **SETTINGS))
    inputs, targets = task.rows[torch.arange(4)]
    outputs = task.model(inputs)

    expected = ((outputs.squeeze(1) - targets) ** 2).mean()
    assert task.loss(outputs, targets).item() == pytest.approx(expected.item())


def test_a_precision_that_a_library_lacks_is_refused():
    with pytest.raises(CapabilityError, match="fp8"):
        choose_precision(Precision.FP8, {Precision.FP32: "32-true"})
