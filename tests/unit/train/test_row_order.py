"""Which rows a step sees depends on seed and position alone, never on how the step is cut."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raymi.train.order import RowOrder

orders = st.builds(
    RowOrder,
    num_rows=st.integers(1, 200),
    global_batch_size=st.integers(1, 64),
    micro_batch_size=st.integers(1, 16),
    num_workers=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)


def seen_in_step(order: RowOrder, rows: np.ndarray) -> list[int]:
    return sorted(
        int(row)
        for rank in range(order.num_workers)
        for batch in order.micro_batches(rows, rank)
        for row, weight in zip(batch.rows, batch.weights, strict=True)
        if weight
    )


@given(orders, st.integers(0, 3))
def test_every_row_is_seen_exactly_once_in_an_epoch(order, epoch):
    permutation = order.epoch(epoch)

    steps = [order.step_rows(permutation, step) for step in range(order.steps_per_epoch)]

    assert sorted(np.concatenate(steps).tolist()) == list(range(order.num_rows))


@given(orders)
def test_cutting_a_step_loses_and_repeats_nothing(order):
    rows = order.step_rows(order.epoch(0), order.steps_per_epoch - 1)

    assert seen_in_step(order, rows) == sorted(rows.tolist())


@given(orders)
def test_every_worker_gets_the_same_number_of_equal_micro_batches(order):
    rows = order.step_rows(order.epoch(0), order.steps_per_epoch - 1)

    shapes = [
        [batch.rows.shape for batch in order.micro_batches(rows, rank)]
        for rank in range(order.num_workers)
    ]

    assert all(shape == shapes[0] for shape in shapes)
    assert set(shapes[0]) == {(order.micro_batch_size,)}


def test_a_resumed_process_draws_the_same_epoch():
    first = RowOrder(1000, 10, 5, 2, seed=7)
    second = RowOrder(1000, 10, 5, 2, seed=7)

    assert np.array_equal(first.epoch(3), second.epoch(3))


def test_epochs_and_seeds_differ():
    order = RowOrder(1000, 10, 5, 2, seed=7)
    other = RowOrder(1000, 10, 5, 2, seed=8)

    assert not np.array_equal(order.epoch(0), order.epoch(1))
    assert not np.array_equal(order.epoch(0), other.epoch(0))
