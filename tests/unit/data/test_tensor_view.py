"""Tensors are read where they lie: one chunk is never copied, slices and chunks stay exact."""

import numpy as np
import pyarrow as pa
import pytest

from raymi.data.tensors import tensor_array, tensor_view, type_text

IMAGES = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)


def lists(values):
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 6)


@pytest.mark.parametrize("make", [lists, tensor_array])
def test_one_chunk_is_a_read_only_view_of_the_same_memory(make):
    array = make(IMAGES)
    storage = array.storage if isinstance(array, pa.ExtensionArray) else array

    view = tensor_view(pa.chunked_array([array]), (2, 3))

    assert (view == IMAGES).all()
    assert view.dtype == np.uint8
    assert view.ctypes.data == storage.values.buffers()[1].address
    assert not view.flags.writeable


@pytest.mark.parametrize("make", [lists, tensor_array])
def test_slices_and_several_chunks_keep_every_row(make):
    array = make(IMAGES)
    column = pa.chunked_array([array.slice(1, 2), array.slice(0, 0), array.slice(3)])

    assert (tensor_view(column, (2, 3)) == IMAGES[1:]).all()
    assert (tensor_view(column.slice(1, 2), (2, 3)) == IMAGES[2:4]).all()


def test_no_rows_keep_shape_and_type():
    view = tensor_view(pa.chunked_array([tensor_array(IMAGES)]).slice(0, 0), (2, 3))

    assert (view.shape, view.dtype) == ((0, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("data_type", "text"),
    [
        (pa.list_(pa.field("element", pa.uint8()), 6), "fixed_size_list<uint8>[6]"),
        (pa.fixed_shape_tensor(pa.float32(), [2, 3]), "fixed_shape_tensor<float>[2,3]"),
        (pa.timestamp("us", "UTC"), "timestamp[us, tz=UTC]"),
    ],
)
def test_types_are_written_the_same_whichever_file_they_came_from(data_type, text):
    assert type_text(data_type) == text
