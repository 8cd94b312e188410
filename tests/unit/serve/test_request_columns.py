"""JSON values become a typed column exactly when every one of them fits the type."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.errors import RequestError
from raymi.registry.signature import InputField
from raymi.serve.columns import build_column

INTEGERS = ["UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64"]


def field(datatype, shape=(), *, nullable=False):
    return InputField(
        name="x", datatype=datatype, shape=shape, nullable=nullable, kind="number", example=0
    )


def column(of, values):
    return build_column(of, values, lambda row: f"rows[{row}].x")


def refused_row(of, values):
    with pytest.raises(RequestError) as refusal:
        column(of, values)
    return refusal.value.field


@pytest.mark.parametrize("datatype", INTEGERS)
@given(values=st.lists(st.integers(-(2**65), 2**65), min_size=1, max_size=4))
def test_integers_are_taken_exactly_within_the_range_of_their_type(datatype, values):
    bits, lowest = int(datatype[-2:].strip("TUIN")), 0
    if datatype.startswith("INT"):
        bits, lowest = bits - 1, -(2 ** (bits - 1))
    outside = [row for row, value in enumerate(values) if not lowest <= value < 2**bits]

    if outside:
        assert refused_row(field(datatype), values) == f"rows[{outside[0]}].x"
    else:
        assert column(field(datatype), values).to_pylist() == values


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_every_finite_32_bit_number_survives_unchanged(values):
    assert column(field("FP32"), values).to_pylist() == values


@given(
    st.lists(
        st.lists(st.floats() | st.integers() | st.none() | st.booleans(), min_size=4, max_size=4),
        min_size=1,
        max_size=4,
    )
)
def test_the_first_wrong_row_of_a_tensor_is_the_one_that_is_named(rows):
    largest = float(np.finfo(np.float32).max)
    wrong = [
        row
        for row, values in enumerate(rows)
        if not all(type(v) in (int, float) and abs(v) <= largest for v in values)
    ]

    if wrong:
        assert refused_row(field("FP32", (2, 2)), rows) == f"rows[{wrong[0]}].x"
    else:
        assert len(column(field("FP32", (2, 2)), rows)) == len(rows)


@given(st.data())
def test_nested_and_flat_tensors_may_be_mixed(data):
    images = data.draw(
        st.lists(st.lists(st.integers(0, 255), min_size=6, max_size=6), min_size=1, max_size=5)
    )
    nest = [data.draw(st.booleans()) for _ in images]
    sent = [
        np.reshape(image, (2, 3)).tolist() if nested else image
        for image, nested in zip(images, nest, strict=True)
    ]

    assert column(field("UINT8", (2, 3)), sent).to_pylist() == images


def test_whole_numbers_may_be_written_with_a_point():
    assert column(field("INT64"), [3.0, 4]).to_pylist() == [3, 4]


def test_null_is_a_value_of_nullable_columns_only():
    for datatype, value in (("FP64", 1.5), ("INT64", 2), ("BYTES", "a"), ("BOOL", True)):
        assert column(field(datatype, nullable=True), [value, None]).to_pylist() == [value, None]
        assert refused_row(field(datatype), [value, None]) == "rows[1].x"


def test_the_column_has_the_type_the_model_was_trained_on():
    assert column(field("UINT8", (2,)), [[1, 2]]).type == pa.list_(pa.uint8(), 2)
    assert column(field("BOOL"), [True]).type == pa.bool_()


def test_a_wrong_shape_says_what_was_expected_and_what_came():
    with pytest.raises(
        RequestError, match=r"expected shape \[8, 8\], got a list of shape \[8, 7\]"
    ):
        column(field("UINT8", (8, 8)), [[[0] * 7] * 8])
