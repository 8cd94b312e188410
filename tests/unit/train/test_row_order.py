"""Which rows a step sees depends on seed and position alone, never on how the step is cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.train.order import BlockShuffle, FullShuffle, RowOrder, StepCut

SEEDS = st.integers(0, 2**40)


def full(num_rows: int, seed: int) -> RowOrder:
    return FullShuffle(num_rows, seed=seed)


def blocks(num_rows: int, seed: int) -> RowOrder:
    return BlockShuffle(num_rows, seed=seed, block_rows=7, window_blocks=3)


both_orders = pytest.mark.parametrize("make", [full, blocks])


def cut(num_rows, global_batch_size=10, micro_batch_size=3, num_workers=2, rank=0) -> StepCut:
    return StepCut(num_rows, global_batch_size, micro_batch_size, num_workers, rank)


cuts = st.builds(
    cut,
    num_rows=st.integers(1, 200),
    global_batch_size=st.integers(1, 64),
    micro_batch_size=st.integers(1, 16),
    num_workers=st.integers(1, 4),
)


def of_rank(one: StepCut, rank: int) -> StepCut:
    return cut(one.num_rows, one.global_batch_size, one.micro_batch_size, one.num_workers, rank)


def seen_in_step(one: StepCut, order: RowOrder, step: int) -> list[int]:
    """The rows of all workers that carry weight, in the order of the workers."""
    seen = []
    for rank in range(one.num_workers):
        mine = of_rank(one, rank)
        rows = mine.rows_of(order, 0, range(step, step + 1))
        seen.extend(rows[mine.weights(mine.rows_in(step)) == 1].tolist())
    return seen


@both_orders
@given(num_rows=st.integers(1, 200), seed=SEEDS, epoch=st.integers(0, 3))
def test_every_row_has_exactly_one_place_in_an_epoch(make, num_rows, seed, epoch):
    rows = make(num_rows, seed).rows(epoch, 0, num_rows)

    assert sorted(rows.tolist()) == list(range(num_rows))


@both_orders
@given(num_rows=st.integers(1, 200), seed=SEEDS, data=st.data())
def test_any_part_of_an_epoch_is_that_part_of_the_whole(make, num_rows, seed, data):
    first = data.draw(st.integers(0, num_rows))
    last = data.draw(st.integers(first, num_rows))
    whole = make(num_rows, seed).rows(1, 0, num_rows)

    part = make(num_rows, seed).rows(1, first, last)

    assert part.tolist() == whole[first:last].tolist()


@both_orders
def test_a_resumed_process_draws_the_same_epoch(make):
    used, fresh = make(1000, 7), make(1000, 7)
    for epoch in range(3):
        used.rows(epoch, 0, 1000)

    assert np.array_equal(used.rows(3, 500, 1000), fresh.rows(3, 500, 1000))


@both_orders
def test_epochs_and_seeds_differ(make):
    first = make(1000, 7).rows(0, 0, 1000)

    assert not np.array_equal(first, make(1000, 7).rows(1, 0, 1000))
    assert not np.array_equal(first, make(1000, 8).rows(0, 0, 1000))
    assert not np.array_equal(first, np.sort(first))


def test_a_window_holds_whole_blocks_and_mixes_them():
    order = BlockShuffle(100, seed=0, block_rows=5, window_blocks=4)

    window = order.rows(0, 20, 40)

    blocks_met = set((window // 5).tolist())
    assert len(blocks_met) == 4
    assert sorted(window.tolist()) == [5 * b + i for b in sorted(blocks_met) for i in range(5)]
    assert (np.diff(window // 5) != 0).sum() > 4


def test_blocks_of_one_row_or_one_window_for_all_are_a_full_shuffle():
    single_rows = BlockShuffle(50, seed=0, block_rows=1, window_blocks=1).rows(0, 0, 50)
    one_window = BlockShuffle(50, seed=0, block_rows=7, window_blocks=99).rows(0, 0, 50)

    for rows in (single_rows, one_window):
        assert sorted(rows.tolist()) == list(range(50))
        assert (np.diff(rows) == 1).sum() < 10


@both_orders
@given(one=cuts)
def test_cutting_a_step_loses_and_repeats_nothing(make, one):
    order = make(one.num_rows, 0)
    last = one.steps_per_epoch - 1
    expected = order.rows(0, last * one.global_batch_size, one.num_rows)

    assert seen_in_step(one, order, last) == expected.tolist()


@both_orders
@given(one=cuts, num_workers=st.integers(1, 4), micro_batch_size=st.integers(1, 16))
def test_the_rows_of_a_step_depend_on_neither_workers_nor_micro_batches(
    make, one, num_workers, micro_batch_size
):
    other = cut(one.num_rows, one.global_batch_size, micro_batch_size, num_workers)
    order = make(one.num_rows, 0)

    assert other.steps_per_epoch == one.steps_per_epoch
    assert seen_in_step(one, order, 0) == seen_in_step(other, order, 0)


@given(one=cuts)
def test_every_worker_takes_the_same_number_of_whole_micro_batches(one):
    order = full(one.num_rows, 0)
    step = one.steps_per_epoch - 1

    shares = {
        len(of_rank(one, rank).rows_of(order, 0, range(step, step + 1)))
        for rank in range(one.num_workers)
    }

    (share,) = shares
    assert share % one.micro_batch_size == 0
    assert share == one.share(one.rows_in(step))


def test_padding_is_the_first_row_of_its_step_again():
    order = full(4, 0)
    second = cut(num_rows=4, global_batch_size=4, micro_batch_size=3, num_workers=2, rank=1)
    step = order.rows(0, 0, 4)

    rows = second.rows_of(order, 0, range(1))

    assert rows.tolist() == [step[3], step[0], step[0]]
    assert second.weights(4).tolist() == [1.0, 0.0, 0.0]


@given(one=cuts, data=st.data(), steps_per_group=st.integers(1, 9))
def test_groups_cover_what_is_left_of_an_epoch_and_hold_steps_of_one_size(
    one, data, steps_per_group
):
    first = data.draw(st.integers(0, one.steps_per_epoch))

    groups = list(one.groups(first, steps_per_group=steps_per_group))

    assert [step for group in groups for step in group] == list(range(first, one.steps_per_epoch))
    assert all(len({one.rows_in(step) for step in group}) == 1 for group in groups)
    assert all(1 <= len(group) <= steps_per_group for group in groups)
