"""Rows streamed through Ray Data keep the contract of a RowSource, on a cluster that is full."""

from collections.abc import Iterator

import pytest

from raymi.specs.rows import RowSourceName
from raymi.train.memory_rows import MemoryMappedRows
from raymi.train.plan import TrainPlan
from tests.contract.row_source_contract import (
    OpenSource,
    RowSourceContract,
    assert_same,
    make_plan,
    same_blocks,
    take,
)

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def full_cluster(job: pytest.MonkeyPatch) -> Iterator[None]:
    """Two workers hold the two CPUs, as training's do."""
    import ray

    ray.init(log_to_driver=True)

    @ray.remote(num_cpus=1)
    class Holder:
        def is_there(self) -> bool:
            return True

    holders = [Holder.remote() for _ in range(2)]
    assert ray.get([holder.is_there.remote() for holder in holders]) == [True, True]
    yield
    del holders


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrainPlan:
    return make_plan(tmp_path_factory.mktemp("rows"), RowSourceName.STREAM)


@pytest.fixture
def open_source(plan: TrainPlan, full_cluster: None) -> OpenSource:
    from raymi.train.stream_rows import StreamedRows

    return lambda rank, num_workers: StreamedRows(plan, rank=rank, num_workers=num_workers)


class TestStreamedRows(RowSourceContract):
    """All of it, with no CPU to spare."""


def test_it_gives_the_bits_that_memory_mapped_rows_give_in_the_same_order(
    plan: TrainPlan, open_source: OpenSource
) -> None:
    mapped = MemoryMappedRows(plan, rank=1, num_workers=2, order=same_blocks(plan))

    assert_same(take(open_source(rank=1, num_workers=2), epoch=2), take(mapped, epoch=2))


def test_it_is_silent(
    plan: TrainPlan, open_source: OpenSource, capfd: pytest.CaptureFixture[str]
) -> None:
    source = open_source(rank=0, num_workers=1)
    capfd.readouterr()

    take(source)

    assert capfd.readouterr() == ("", "")
