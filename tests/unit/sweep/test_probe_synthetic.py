"""Random rows look to a network like the rows of the dataset, whatever it reads and predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from raymi.data.version import Split
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.sweep.probe.rig import Rig
from raymi.sweep.probe.synthetic import SyntheticRows
from raymi.train.encoded_rows import TARGETS, read_rows
from raymi.train.plan import TrainPlan

TARGET_COLUMNS = ["shape", "price", "note"]


@pytest.fixture(scope="module", params=TARGET_COLUMNS)
def plan(request, make_run) -> TrainPlan:
    run = make_run(request.param)
    spec = TrainSpec.from_document(run.result.spec)
    return TrainPlan(
        run_id="run",
        run_dir=str(run.store_dir),
        spec=spec,
        dataset=run.dataset,
        dataset_dir=str(next((Path(run.store_dir) / "datasets" / "things").iterdir())),
        preprocessing=run.result.preprocessing,
        architecture=run.result.architecture,
        accelerator="cpu",
        micro_batch_size=spec.batch.micro_batch_size,
        row_source=RowSourceName.MEMORY_MAP,
    )


@pytest.fixture
def rows(plan) -> SyntheticRows:
    return SyntheticRows(plan, seed=0, is_pinned=False)


def test_they_have_the_arrays_shapes_and_types_of_real_ones(plan, rows):
    real = read_rows(plan, np.arange(5))

    batch = rows.batch(5)

    made = {**batch.arrays, TARGETS: batch.targets}
    assert {n: (tuple(a.shape), a.numpy().dtype) for n, a in made.items()} == {
        n: (a.shape, a.dtype) for n, a in real.items()
    }


def test_they_hold_nothing_that_real_ones_could_not(plan, rows):
    real = read_rows(plan, np.arange(plan.dataset.num_rows(Split.TRAIN)))

    batch = rows.batch(500)

    for name, array in batch.arrays.items():
        if not array.is_floating_point():
            largest = {"categories": real[name].max(), "tensor": 255}.get(name.split(":")[0])
            assert array.min() >= 0
            assert largest is None or array.max() <= largest


def test_numbers_are_spread_like_the_normal_distribution(plan, rows):
    floats = [a for a in [*rows.batch(4000).arrays.values()] if a.is_floating_point()]

    for array in floats:
        assert array.mean().item() == pytest.approx(0.0, abs=0.1)
        assert array.std().item() == pytest.approx(1.0, abs=0.1)


def test_a_step_has_so_many_passes_of_so_many_rows(rows):
    step = rows.step(micro_batch_size=6, num_passes=7, num_workers=2)

    assert step.num_rows == 6 * 7 * 2
    assert [len(batch.weights) for batch in step.batches] == [6] * 7


def test_neighbouring_passes_see_different_rows(rows):
    first, second, *_ = rows.step(micro_batch_size=32, num_passes=4, num_workers=1).batches

    assert not torch.equal(first.targets, second.targets)


def test_what_is_timed_leaves_the_weights_where_they_were(plan):
    few, many = Rig(plan, device=torch.device("cpu")), Rig(plan, device=torch.device("cpu"))

    few.run(micro_batch_size=8, num_passes=1, num_steps=1)
    many.run(micro_batch_size=8, num_passes=2, num_steps=30)

    before, after = (dict(one.model.named_parameters()) for one in (few, many))
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)


def test_a_forward_pass_takes_some_time(plan):
    rig = Rig(plan, device=torch.device("cpu"))

    assert 0.0 < rig.latency_s(1, budget_s=0.0) < 10.0
