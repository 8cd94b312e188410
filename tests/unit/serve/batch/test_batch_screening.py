"""Rows of any type become what the model reads, or a reason why not; one never spoils another."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.errors import RequestError
from raymi.registry.signature import InputField, OutputField, Signature
from raymi.serve.batch.screening import screen
from raymi.serve.columns import build_column

OUTPUTS = (OutputField(name="prediction", datatype="FP64", shape=()),)


def field(datatype="FP64", *, shape=(), nullable=False, kind=None, max_bytes=None) -> InputField:
    return InputField(
        name="x",
        datatype=datatype,
        shape=shape,
        nullable=nullable,
        kind=kind or ("tensor" if shape else "number"),
        max_bytes=max_bytes,
        example=0,
    )


def screened(one: InputField, values, data_type=None) -> tuple[list, list]:
    column = values if isinstance(values, pa.Array) else pa.array(values, type=data_type)
    typed, errors = screen(pa.table({"x": column}), Signature(inputs=(one,), outputs=OUTPUTS))
    return typed.column("x").to_pylist(), errors.to_pylist()


@pytest.mark.parametrize(
    "data_type",
    [
        pa.int8(),
        pa.uint64(),
        pa.float32(),
        pa.decimal128(9, 2),
        pa.dictionary(pa.int8(), pa.int32()),
    ],
    ids=str,
)
def test_numbers_of_every_type_are_taken(data_type):
    values = [Decimal(1), Decimal(2)] if pa.types.is_decimal(data_type) else [1, 2]

    assert screened(field(), values, data_type) == ([1.0, 2.0], [None, None])


def test_a_null_is_an_error_only_where_the_model_has_never_seen_one():
    assert screened(field(), [1.0, None])[1] == [None, "x: must not be null: it is null"]
    assert screened(field(nullable=True), [1.0, None]) == ([1.0, None], [None, None])


def test_not_a_number_is_a_null():
    assert screened(field(nullable=True), [float("nan")])[0] == [None]
    assert screened(field(), [float("nan")])[1] == ["x: value out of range: it is NaN"]


@pytest.mark.parametrize(
    ("datatype", "values", "faulty"),
    [
        ("UINT8", [0, 255, 256, -1], [2, 3]),
        ("INT64", [2.0, 2.5, float("inf"), 2.0**63], [1, 2, 3]),
        ("FP32", [1e30, -1e39, float("inf")], [1, 2]),
        ("UINT64", [-1, 2**63 - 1], [0]),
    ],
)
def test_a_value_that_the_trained_type_cannot_hold_is_an_error(datatype, values, faulty):
    _, errors = screened(field(datatype), values)

    assert [row for row, error in enumerate(errors) if error] == faulty
    assert all("out of range" in errors[row] for row in faulty)


def test_times_become_seconds():
    moment = dt.datetime(1970, 1, 2)  # noqa: DTZ001 - columns have such times

    assert screened(field(), [moment], pa.timestamp("ms"))[0] == [86_400.0]
    assert screened(field(), [moment.date()], pa.date32())[0] == [86_400.0]


def test_text_of_a_csv_file_is_read_as_numbers():
    values, errors = screened(field(nullable=True), ["1", "-2.5", "+3e2", None, "many", ""])

    assert values[:4] == [1.0, -2.5, 300.0, None]
    assert errors[:4] == [None] * 4
    assert all("wrong type" in error for error in errors[4:])


def test_large_whole_numbers_in_text_lose_nothing():
    assert screened(field("INT64"), ["9007199254740993"])[0] == [9007199254740993]


def test_text_of_a_csv_file_is_read_as_times_and_truth():
    assert screened(field(), ["1970-01-02", "1970-01-03"])[0] == [86_400.0, 172_800.0]
    truth, errors = screened(field("BOOL", kind="category"), ["true", "False", "perhaps"])
    assert truth[:2] == [True, False]
    assert errors == [None, None, "x: wrong type: it is text"]


def test_text_stays_text_whatever_its_layout():
    for data_type in (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
        assert screened(field("BYTES", kind="text"), ["a", "b"], data_type)[0] == ["a", "b"]


def test_text_that_is_no_unicode_is_an_error_of_its_row():
    broken = pa.array([b"fine", b"\xff\xfe"], pa.binary()).view(pa.string())

    values, errors = screened(field("BYTES", kind="text", nullable=True), broken)

    assert values[0] == "fine"
    assert errors == [None, "x: value out of range: it is text that is not valid Unicode"]


def test_text_that_is_read_byte_by_byte_has_some_and_not_too_many():
    one = field("BYTES", kind="bytes", max_bytes=4)

    _, errors = screened(one, ["abcd", "", "abcde", "é" * 3])

    assert [error is None for error in errors] == [True, False, False, False]


GOOD = [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "data_type",
    [
        pa.list_(pa.list_(pa.uint8(), 2), 2),
        pa.list_(pa.list_(pa.int64())),
        pa.large_list(pa.list_(pa.float64())),
    ],
    ids=str,
)
def test_nested_lists_are_blocks_of_numbers(data_type):
    one = field("UINT8", shape=(2, 2))

    assert screened(one, [GOOD, GOOD], data_type) == ([[1, 2, 3, 4]] * 2, [None, None])


def test_flat_lists_and_tensors_are_blocks_too():
    one = field("UINT8", shape=(2, 2))
    flat = pa.array([[1, 2, 3, 4]], pa.list_(pa.uint8(), 4))
    tensor = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), [2, 2]), flat)

    assert screened(one, flat) == ([[1, 2, 3, 4]], [None])
    assert screened(one, tensor) == ([[1, 2, 3, 4]], [None])


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (None, "got null"),
        ([[1, 2]], "got a list of shape [1, 2]"),
        ([[1, 2], [3]], "differ in length"),
        ([[1, 2], None], "x: w"),
        ([[1, 2], [3, None]], "element 3 is null"),
        ([[1, 2], [3, 256]], "element 3 is out of the range of UINT8"),
        ([], "got a list of shape [0]"),
    ],
    ids=str,
)
def test_a_block_that_is_none_is_an_error_and_its_neighbours_are_not(bad, why):
    one = field("UINT8", shape=(2, 2))

    values, errors = screened(one, [GOOD, bad, GOOD], pa.list_(pa.list_(pa.int64())))

    assert (values[0], values[2]) == ([1, 2, 3, 4], [1, 2, 3, 4])
    assert (errors[0], errors[2]) == (None, None)
    assert why in errors[1]


def test_a_slice_of_a_column_is_not_taken_for_the_column():
    lists = pa.array([[9, 9, 9], GOOD[0], GOOD[1]], pa.list_(pa.int64())).slice(1)

    assert screened(field("INT64", shape=(2,)), lists) == ([[1, 2], [3, 4]], [None, None])


def test_the_first_fault_of_a_row_is_the_one_that_is_told():
    inputs = (field(), field().model_copy(update={"name": "y"}))
    rows = pa.table({"x": pa.array([1.0, None]), "y": pa.array([None, None], pa.float64())})

    _, errors = screen(rows, Signature(inputs=inputs, outputs=OUTPUTS))

    assert [error.split(":")[0] for error in errors.to_pylist()] == ["y", "x"]


VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(width=64)
DATATYPES = st.sampled_from(["UINT8", "INT8", "INT32", "UINT64", "INT64", "FP32", "FP64"])


@given(st.lists(VALUES, min_size=1, max_size=8), DATATYPES, st.booleans())
def test_screening_agrees_with_the_server_about_every_number(values, datatype, nullable):
    """The server's own conversion is the oracle; only NaN, which JSON has not, stands for null."""
    one = field(datatype, nullable=nullable)
    numbers = [None if v is None else float(v) for v in values]

    _, errors = screened(one, numbers, pa.float64())

    for value, error in zip(numbers, errors, strict=True):
        sent = None if value is None or np.isnan(value) else value
        try:
            build_column(one, [sent], lambda _row: "x")
        except RequestError:
            assert error is not None
        else:
            assert error is None
