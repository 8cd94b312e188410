"""Parquet and Arrow files are read whole, and damaged ones are refused by name."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from raymi.data.canonical import canonical, unify
from raymi.data.columnar import read_arrow, read_parquet
from raymi.errors import DataError

TABLE = pa.table({"x": [1, 2, 3], "y": ["a", None, "c"]})


def test_parquet_keeps_every_value(write):
    assert read_parquet(write("data.parquet", TABLE)) == TABLE


@pytest.mark.parametrize("new_writer", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_files_and_streams_keep_every_value(write, new_writer):
    sink = pa.BufferOutputStream()
    with new_writer(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)

    assert read_arrow(write("data.arrow", sink.getvalue().to_pybytes())) == TABLE


def test_feather_files_are_arrow_files(tmp_path):
    feather.write_feather(TABLE, tmp_path / "data.feather")

    assert read_arrow(tmp_path / "data.feather") == TABLE


def test_a_pandas_index_is_not_a_column(write):
    table = TABLE.append_column("__index_level_0__", pa.array([7, 8, 9]))

    assert read_parquet(write("data.parquet", table)).column_names == ["x", "y"]


@pytest.mark.parametrize("keep", [1, 4, 100, -1])
def test_truncated_parquet_is_refused(write, keep):
    path = write("data.parquet", TABLE)
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(DataError, match=r"data\.parquet: not a readable Parquet file"):
        read_parquet(path)


@pytest.mark.parametrize("new_writer", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("keep", [5, 100, 400])
def test_truncated_arrow_is_refused(write, new_writer, keep):
    sink = pa.BufferOutputStream()
    with new_writer(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    path = write("data.arrow", sink.getvalue().to_pybytes()[:keep])

    with pytest.raises(DataError, match=r"data\.arrow: not a readable Arrow IPC file"):
        read_arrow(path)


@pytest.mark.parametrize("read", [read_parquet, read_arrow])
@pytest.mark.parametrize("content", ["a,b\n1,2\n", ""])
def test_something_else_is_refused(write, read, content):
    with pytest.raises(DataError, match=r"data\.bin"):
        read(write("data.bin", content))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array(["a", "b"]).dictionary_encode(), pa.array(["a", "b"])),
        (pa.array(["a", None], pa.large_string()), pa.array(["a", None])),
        (pa.array([Decimal("1.5"), None]), pa.array([1.5, None])),
        (pa.array(np.array([0.5], np.float16)), pa.array([0.5], pa.float32())),
        (pa.array([1.0, float("nan")]), pa.array([1.0, None])),
        (pa.array([dt.date(2024, 1, 1)]), pa.array([dt.date(2024, 1, 1)])),
        (pa.array([[1, 2], [3, 4]]), pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2))),
    ],
)
def test_each_kind_of_value_has_one_type(array, expected):
    column = canonical(pa.table({"x": array}), where="file")["x"]

    assert column.type == expected.type
    assert column.to_pylist() == expected.to_pylist()


def test_nested_lists_and_permuted_tensors_become_plain_tensors():
    images = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(images.transpose(0, 2, 1).reshape(-1)), 6)
    permuted = pa.fixed_shape_tensor(pa.uint8(), [3, 2], permutation=[1, 0])
    columns = {
        "lists": pa.array(images.tolist(), pa.list_(pa.list_(pa.uint8()))),
        "permuted": pa.ExtensionArray.from_storage(permuted, storage),
    }

    table = canonical(pa.table(columns), where="file")

    for column in table.columns:
        assert column.type == pa.fixed_shape_tensor(pa.uint8(), [2, 3])
        assert (column.combine_chunks().to_numpy_ndarray() == images).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pa.array([[1, 2], [3, 4], [5]]), "row 3 is not a block .* it holds 1 values"),
        (pa.array([[1, 2], None]), "row 2 .* it is null"),
        (pa.array([[1, 2], [3, None]]), "row 2 .* it holds a null"),
        (pa.array([[1.0], [float("inf")]]), "row 2 .* NaN or a number above"),
        (pa.array([[[1], [2]], [[3], [4, 5]]]), "row 2 .* it holds 2 values"),
        (pa.array([[], []], pa.list_(pa.int64())), "row 1 .* empty list"),
        (pa.array([["a"], ["b"]]), "lists of string"),
        (pa.array([1.0, float("-inf")]), "row 2 is -inf"),
        (pa.array([1.0, 1e200]), "row 2 is 1e.200"),
        (pa.array([{"a": 1}]), "has type struct"),
        (pa.array([b"x"]), "has type binary"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_with_file_column_and_row(array, message):
    with pytest.raises(DataError, match=f"(?s)some/file: 'x'.*{message}"):
        canonical(pa.table({"x": array}), where="some/file")


def test_sources_with_narrower_numbers_and_other_column_order_are_unified():
    first = pa.table({"n": pa.array([1], pa.int32()), "s": pa.array([None], pa.null())})
    second = pa.table({"s": ["a"], "n": [2.5]})

    tables = unify([("one", first), ("two", second)])

    assert pa.concat_tables(tables).to_pydict() == {"n": [1.0, 2.5], "s": [None, "a"]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"n": ["one"], "s": ["a"]}, "two: column 'n' is string"),
        ({"n": [1]}, "two: no column 's'"),
        ({"n": [1], "s": ["a"], "more": [1]}, "one: no column 'more'"),
    ],
)
def test_sources_with_another_schema_are_refused_with_file_and_column(columns, message):
    first = pa.table({"n": [1], "s": ["a"]})

    with pytest.raises(DataError, match=message):
        unify([("one", first), ("two", pa.table(columns))])
