"""Rows from memory-mapped shards keep the contract of a RowSource."""

from pathlib import Path

import numpy as np
import pytest

from raymi.errors import IntegrityError
from raymi.specs.rows import RowSourceName
from raymi.train.memory_rows import MemoryMappedRows
from raymi.train.plan import TrainPlan
from tests.contract.row_source_contract import OpenSource, RowSourceContract, make_plan


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrainPlan:
    return make_plan(tmp_path_factory.mktemp("rows"), RowSourceName.MEMORY_MAP)


@pytest.fixture
def open_source(plan: TrainPlan) -> OpenSource:
    return lambda rank, num_workers: MemoryMappedRows(plan, rank=rank, num_workers=num_workers)


class TestMemoryMappedRows(RowSourceContract):
    """All of it, without Ray."""


def test_buffers_are_used_again(open_source: OpenSource) -> None:
    source = open_source(rank=0, num_workers=1)

    addresses = [
        {step.batches[0].targets.data_ptr() for step in source.steps(epoch, 0)}
        for epoch in range(2)
    ]

    assert addresses[0] == addresses[1]


def test_soft_targets_of_other_rows_are_refused(plan: TrainPlan, tmp_path: Path) -> None:
    wrong = tmp_path / "soft_targets.npy"
    np.save(wrong, np.zeros((7, 3), dtype=np.float32))

    with pytest.raises(IntegrityError, match="teacher"):
        MemoryMappedRows(
            plan.model_copy(update={"soft_targets": str(wrong)}), rank=0, num_workers=1
        )


def test_a_damaged_shard_is_named(plan: TrainPlan, tmp_path: Path) -> None:
    shard = plan.dataset.shards[0].file
    for file in Path(plan.dataset_dir).glob("*.arrow"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / shard).write_bytes(b"ARROW1")

    with pytest.raises(IntegrityError, match=shard):
        MemoryMappedRows(
            plan.model_copy(update={"dataset_dir": str(tmp_path)}), rank=0, num_workers=1
        )


def test_without_soft_targets_there_are_none(plan: TrainPlan) -> None:
    source = MemoryMappedRows(plan.model_copy(update={"soft_targets": None}), rank=0, num_workers=1)

    assert next(iter(source.steps(0, 0))).batches[0].soft_targets is None
