"""A pool fits the cluster, and what is on the way is bounded whatever the rows weigh."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.errors import InfeasibleError
from raymi.serve.batch.sizing import settle
from raymi.specs.batch_predict import ActorsSpec

CPUS_ONLY = [{"CPU": 2.0}, {"CPU": 4.0}]
ONE_GPU_NODE = [{"CPU": 16.0, "GPU": 8.0}]


def sizes(nodes, *, num_rows=1_000_000, row_bytes=100, max_batch_size=64, **actors):
    return settle(
        ActorsSpec.from_document(actors),
        nodes,
        max_batch_size=max_batch_size,
        num_rows=num_rows,
        row_bytes=row_bytes,
    )


@pytest.mark.parametrize(
    ("nodes", "asked", "most"),
    [
        (CPUS_ONLY, {}, 6),
        (CPUS_ONLY, {"cpus_per_actor": 3}, 1),
        (CPUS_ONLY, {"max_size": 2}, 2),
        (CPUS_ONLY, {"max_size": 100}, 6),
        (CPUS_ONLY, {"cpus_per_actor": 0.5}, 12),
        (ONE_GPU_NODE, {}, 8),
        (ONE_GPU_NODE, {"gpus_per_actor": 0.5}, 16),
        (ONE_GPU_NODE, {"gpus_per_actor": 0.3}, 16),
        (ONE_GPU_NODE, {"gpus_per_actor": 4, "cpus_per_actor": 2}, 2),
        (ONE_GPU_NODE, {"gpus_per_actor": 0}, 16),
    ],
)
def test_a_pool_grows_to_what_the_cluster_has_room_for(nodes, asked, most):
    assert sizes(nodes, **asked).max_actors == most


def test_an_accelerator_is_used_where_there_is_one():
    assert sizes(ONE_GPU_NODE).gpus_per_actor == 1.0
    assert sizes(CPUS_ONLY).gpus_per_actor == 0.0


def test_a_pool_that_can_never_be_placed_is_refused_with_what_there_is():
    with pytest.raises(InfeasibleError) as caught:
        sizes(CPUS_ONLY, min_size=2, cpus_per_actor=3)

    assert "room for 1" in caught.value.why
    assert "2 CPU" in caught.value.why


def test_few_rows_do_not_start_many_actors():
    assert sizes(CPUS_ONLY, num_rows=100, max_batch_size=64).max_actors == 2


def test_threads_are_bounded_by_what_is_reserved():
    assert sizes(CPUS_ONLY, cpus_per_actor=2).num_threads == 2
    assert sizes(CPUS_ONLY, cpus_per_actor=0.5).num_threads == 1


@given(st.integers(1, 10**9), st.integers(1, 10**5))
def test_memory_on_the_way_has_a_bound_that_rows_do_not_move(row_bytes, max_batch_size):
    found = sizes(CPUS_ONLY, row_bytes=row_bytes, max_batch_size=max_batch_size)

    assert found.block_bytes <= 16 << 20
    assert found.object_store_bytes <= (16 << 20) * 8 * 9
    assert found.chunk_rows == 1 or found.chunk_rows * row_bytes <= 8 << 20
