"""Rows come out as numpy's own indexing gives them, however the arrays are cut into shards."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raymi.data.gather import ShardedArrays

TYPES = st.sampled_from(["u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])
SHAPES = st.sampled_from([(), (1,), (3,), (8,), (2, 3), (3, 4, 4)])


def room(arrays: ShardedArrays, num_rows: int) -> dict[str, torch.Tensor]:
    return {
        name: torch.empty((num_rows, *column.row_shape), dtype=column.dtype)
        for name, column in arrays.columns.items()
    }


@given(
    kind=TYPES,
    shape=SHAPES,
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    data=st.data(),
)
def test_rows_are_those_of_the_concatenated_pieces(kind, shape, sizes, data):
    draw = np.random.default_rng(0)
    pieces = [draw.integers(0, 100, (size, *shape)).astype(kind) for size in sizes]
    whole = np.concatenate(pieces)
    picks = st.lists(st.integers(0, max(len(whole) - 1, 0)), max_size=20 if len(whole) else 0)
    rows = np.array(data.draw(picks), dtype=np.int64)
    arrays = ShardedArrays([{"x": piece} for piece in pieces])
    out = room(arrays, len(rows))

    arrays.gather(rows, out)

    assert out["x"].numpy().dtype == whole.dtype
    assert np.array_equal(out["x"].numpy(), whole[rows])


def test_pieces_that_start_at_odd_addresses_are_read_exactly():
    memory = np.frombuffer(bytes(range(200)), dtype=np.uint8)
    pieces = [memory[1:33].reshape(4, 8), memory[101:125].reshape(3, 8)]
    arrays = ShardedArrays([{"x": piece} for piece in pieces])
    out = room(arrays, 3)

    arrays.gather(np.array([6, 0, 4]), out)

    assert out["x"][:, 0].tolist() == [117, 1, 101]


def test_several_columns_are_gathered_by_the_same_rows():
    arrays = ShardedArrays(
        [
            {"x": np.arange(6, dtype=np.float32).reshape(3, 2), "y": np.arange(3)},
            {"x": np.arange(6, 10, dtype=np.float32).reshape(2, 2), "y": np.arange(3, 5)},
        ]
    )
    out = room(arrays, 2)

    arrays.gather(np.array([4, 1]), out)

    assert arrays.num_rows == 5
    assert out["x"].tolist() == [[8.0, 9.0], [2.0, 3.0]]
    assert out["y"].tolist() == [4, 1]


def test_pieces_are_kept_alive_and_not_copied():
    piece = np.zeros((2, 4), dtype=np.uint8)
    arrays = ShardedArrays([{"x": piece}])
    piece[1] = 7
    del piece
    out = room(arrays, 1)

    arrays.gather(np.array([1]), out)

    assert out["x"].tolist() == [[7, 7, 7, 7]]


def test_an_array_with_gaps_is_refused():
    with pytest.raises(ValueError, match="contiguous"):
        ShardedArrays([{"x": np.zeros((4, 4))[:, ::2]}])
