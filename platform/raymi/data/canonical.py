"""One spelling for every Arrow type, and one schema for all sources.

After this module a column is an integer, float32 or float64, bool, string, date, time,
timestamp, duration, null, or a fixed-shape block of numbers without gaps. Not-a-number is
null; infinity, nesting and raw bytes are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymi.data.tensors import tensor_array
from raymi.errors import DataError

_types = pa.types

MAX_MAGNITUDE = 1e150
"""Larger numbers have squares that overflow, and no standard deviation."""


def canonical(table: pa.Table, *, where: str) -> pa.Table:
    """Convert every column of one source; `where` names it in errors.

    Raises:
        DataError: A column's type cannot be learned from, lists differ in length, a tensor is
            missing, or a number is infinite; with the row.
    """
    if table.num_rows == 0 or table.num_columns == 0:
        raise DataError(
            f"{where}: no rows" if table.num_columns else f"{where}: no columns",
            why="there is nothing to learn from",
            fix="pass a file with at least one row and one column",
        )
    names = table.column_names
    if repeated := [name for name in names if names.count(name) > 1]:
        raise DataError(
            f"{where}: duplicate column name {repeated[0]!r}",
            why="columns are told apart by name",
            fix="rename one of them",
        )
    return pa.table(
        {name: _canonical_column(table.column(name), f"{where}: {name!r}") for name in names}
    )


def unify(tables: Sequence[tuple[str, pa.Table]]) -> list[pa.Table]:
    """Give several sources one schema: that of the first, with integers and floats widened.

    Raises:
        DataError: A column is absent, extra, or of another type; with file and column.
    """
    first_where, first = tables[0]
    names = first.column_names
    types = {name: first.schema.field(name).type for name in names}
    for where, table in tables[1:]:
        for name in [*names, *table.column_names]:
            if name not in table.column_names or name not in types:
                absent, present = (where, first_where) if name in types else (first_where, where)
                raise DataError(
                    f"{absent}: no column {name!r}",
                    why=f"{present} has one, and all sources must have the same columns",
                    fix="import files with the same columns, or each as its own dataset",
                )
        for name in names:
            theirs = table.schema.field(name).type
            types[name] = _common_type(types[name], theirs, f"{where}: column {name!r}")
    return [
        pa.table({name: _widened(table.column(name), types[name], where) for name in names})
        for where, table in tables
    ]


def _common_type(ours: pa.DataType, theirs: pa.DataType, where: str) -> pa.DataType:
    try:
        pair = [pa.schema([("column", ours)]), pa.schema([("column", theirs)])]
        return pa.unify_schemas(pair, promote_options="permissive").field("column").type
    except pa.ArrowException as error:
        raise DataError(
            f"{where} is {theirs}",
            why=f"it is {ours} in the sources before",
            fix="make them the same type, declare markers of missing values as null values, "
            "or keep a CSV column as text with `csv.text_columns` (--text-column)",
        ) from error


def _widened(column: pa.ChunkedArray, data_type: pa.DataType, where: str) -> pa.ChunkedArray:
    if column.type == data_type:
        return column
    try:
        return pc.cast(column, data_type)
    except pa.ArrowException as error:
        raise DataError(
            f"{where}: a value does not fit {data_type}",
            why=" ".join(str(error).split()),
            fix="store the column with one type in all sources",
        ) from error


def _canonical_column(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    data_type = column.type
    if _types.is_dictionary(data_type):
        return _canonical_column(pc.cast(column, data_type.value_type), where)
    if _is_list(data_type) or isinstance(data_type, pa.FixedShapeTensorType):
        return pa.chunked_array([_tensor_column(column, where)])
    if _types.is_large_string(data_type) or _types.is_string_view(data_type):
        return pc.cast(column, pa.string())
    if _types.is_decimal(data_type):
        return pc.cast(column, pa.float64())
    if _types.is_float16(data_type):
        column = pc.cast(column, pa.float32())
    if _types.is_floating(column.type):
        return _finite(column, where)
    if not (_types.is_integer(data_type) or _is_plain(data_type)):
        raise DataError(
            f"{where} has type {data_type}",
            why="nested values and raw bytes cannot be learned from",
            fix="decode it into a list of numbers of one length, or leave the column out",
        )
    return column


def _is_plain(data_type: pa.DataType) -> bool:
    return any(
        is_it(data_type)
        for is_it in (_types.is_boolean, _types.is_string, _types.is_null, _types.is_temporal)
    )


def _is_list(data_type: pa.DataType) -> bool:
    return any(
        is_it(data_type)
        for is_it in (_types.is_list, _types.is_large_list, _types.is_fixed_size_list)
    )


def _finite(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, type=column.type), column)
    too_large = pc.greater(pc.abs(column), MAX_MAGNITUDE)
    if pc.any(too_large).as_py():
        row = pc.index(too_large, True).as_py()
        raise DataError(
            f"{where}: row {row + 1} is {column[row].as_py()}",
            why=f"means and squares need numbers below {MAX_MAGNITUDE:g}",
            fix="replace it with a smaller number or with null",
        )
    return column


def _tensor_column(column: pa.ChunkedArray, where: str) -> pa.Array:
    array = column.combine_chunks()
    if array.null_count:
        raise _bad_row(where, pc.index(pc.is_null(array), True).as_py(), "it is null")
    if isinstance(array.type, pa.FixedShapeTensorType):
        numbers = _numbers(array.storage.flatten(), where, len(array))
        permutation = array.type.permutation or ()
        if list(permutation) != sorted(permutation):
            return tensor_array(array.to_numpy_ndarray())
        return tensor_array(numbers.to_numpy().reshape(len(array), *array.type.shape))
    values, shape = _flattened(array, where)
    numbers = _numbers(values, where, len(array))
    return tensor_array(numbers.to_numpy(zero_copy_only=False).reshape(len(array), *shape))


def _flattened(array: pa.Array, where: str) -> tuple[pa.Array, tuple[int, ...]]:
    """All values of nested lists, and the one shape that every row has."""
    shape: list[int] = []
    num_rows = len(array)
    while _is_list(array.type):
        lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)
        if array.null_count or (lengths != lengths[0]).any():
            odd = int(np.argmax(lengths != lengths[0]))
            row = odd * num_rows // len(array)
            why = f"it holds {lengths[odd]:g} values where the first row holds {lengths[0]:g}"
            raise _bad_row(where, row, why)
        if lengths[0] == 0:
            raise _bad_row(where, 0, "it is an empty list")
        shape.append(int(lengths[0]))
        array = array.flatten()
    return array, tuple(shape)


def _numbers(values: pa.Array, where: str, num_rows: int) -> pa.Array:
    """Check the elements of a tensor column; float16 and bool get a type numpy can learn from."""
    if _types.is_boolean(values.type):
        values = pc.cast(values, pa.uint8())
    if _types.is_float16(values.type):
        values = pc.cast(values, pa.float32())
    if not (_types.is_integer(values.type) or _types.is_floating(values.type)):
        raise DataError(
            f"{where} holds lists of {values.type}",
            why="only lists of numbers can be learned from",
            fix="leave the column out, or turn it into numbers",
        )
    per_row = len(values) // num_rows
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py() // per_row
        raise _bad_row(where, row, "it holds a null")
    if _types.is_floating(values.type):
        usable = pc.less_equal(pc.abs(values), MAX_MAGNITUDE)
        if not pc.all(usable).as_py():
            row = pc.index(usable, False).as_py() // per_row
            raise _bad_row(where, row, f"it holds NaN or a number above {MAX_MAGNITUDE:g}")
    return values


def _bad_row(where: str, row: int, why: str) -> DataError:
    return DataError(
        f"{where}: row {row + 1} is not a block of numbers like the others",
        why=why,
        fix="every row needs the same number of values, none missing",
    )
