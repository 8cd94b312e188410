"""Rows streamed through Ray Data keep the contract of a RowSource, on a cluster that is full."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raymi.data.version import Split
from raymi.errors import IntegrityError
from raymi.specs.rows import RowSourceName
from raymi.train.memory_rows import MemoryMappedRows
from raymi.train.order import row_order
from raymi.train.plan import TrainPlan
from tests.contract.row_source_contract import (
    NUM_LABELS,
    OpenSource,
    RowSourceContract,
    assert_same,
    make_plan,
    take,
)

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def workers(job: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Two workers hold the two CPUs, as training's do; each can stream its own rows."""
    import ray

    @ray.remote(num_cpus=1)
    class Worker:
        def first_outputs(self, plan: str, rank: int) -> list[list[float]]:
            """A teacher's first output for each row with weight, a list for each step."""
            from raymi.train.plan import TrainPlan
            from raymi.train.stream_rows import StreamedRows

            source = StreamedRows(TrainPlan.model_validate_json(plan), rank=rank, num_workers=2)
            return [
                [
                    value
                    for batch in step.batches
                    for value in batch.soft_targets[batch.weights == 1, 0].tolist()
                ]
                for step in source.steps(0, 0)
            ]

        def is_there(self) -> bool:
            return True

    ray.init()
    both = [Worker.remote() for _ in range(2)]
    assert ray.get([worker.is_there.remote() for worker in both]) == [True, True]
    yield both


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrainPlan:
    return make_plan(tmp_path_factory.mktemp("rows"), RowSourceName.STREAM)


@pytest.fixture
def open_source(plan: TrainPlan, workers: list[Any]) -> OpenSource:
    from raymi.train.stream_rows import StreamedRows

    return lambda rank, num_workers: StreamedRows(plan, rank=rank, num_workers=num_workers)


def test_it_is_silent_from_the_first_step_on(
    plan: TrainPlan, open_source: OpenSource, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()

    take(open_source(rank=0, num_workers=1))

    assert capfd.readouterr() == ("", "")


class TestStreamedRows(RowSourceContract):
    """All of it, with no CPU to spare."""


def test_it_gives_the_bits_that_memory_mapped_rows_give_in_the_same_order(
    plan: TrainPlan, open_source: OpenSource
) -> None:
    mapped = MemoryMappedRows(plan, rank=1, num_workers=2)

    assert_same(take(open_source(rank=1, num_workers=2), epoch=2), take(mapped, epoch=2))


def test_a_shard_that_is_damaged_is_named(
    plan: TrainPlan, workers: list[Any], tmp_path: Path
) -> None:
    from raymi.train.stream_rows import StreamedRows

    for file in Path(plan.dataset_dir).glob("*.arrow"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    source = StreamedRows(
        plan.model_copy(update={"dataset_dir": str(tmp_path)}), rank=0, num_workers=1
    )
    (tmp_path / "train-00003.arrow").write_bytes(b"ARROW1")

    with pytest.raises(IntegrityError, match=r"train-00003\.arrow"):
        take(source)


def test_workers_that_hold_every_cpu_stream_at_the_same_time(
    plan: TrainPlan, workers: list[Any]
) -> None:
    import ray

    outputs = ray.get(
        [
            worker.first_outputs.remote(plan.model_dump_json(), rank)
            for rank, worker in enumerate(workers)
        ],
        timeout=120,
    )

    seen = [
        value / NUM_LABELS for parts in zip(*outputs, strict=True) for p in parts for value in p
    ]
    assert seen == row_order(plan).rows(0, 0, plan.dataset.num_rows(Split.TRAIN)).tolist()
