"""What one column of one split looks like, in numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymi.data.encoding import number_values
from raymi.data.tensors import tensor_shape, tensor_view
from raymi.data.version import MAX_TOP_VALUES, NUM_QUANTILES, ColumnStatistics

_MAX_TOP_CHARACTERS = 100_000
"""Text kept per column: a column of essays must not end up in the manifest."""

_BLOCK_ROWS = 4096


def describe_column(column: pa.ChunkedArray) -> ColumnStatistics:
    """Summarise one column of one split."""
    if shape := tensor_shape(column.type):
        return _describe_tensor(tensor_view(column, shape))
    num_nulls = column.null_count
    num_values = len(column) - num_nulls
    if num_values == 0:
        return ColumnStatistics(num_values=0, num_nulls=num_nulls)
    numbers = {} if _is_text(column.type) else _describe_numbers(column)
    return ColumnStatistics(
        num_values=num_values,
        num_nulls=num_nulls,
        num_distinct=pc.count_distinct(column, mode="only_valid").as_py(),
        top_values=_top_values(column),
        mean_words=_mean_words(column) if _is_text(column.type) else None,
        **numbers,
    )


def _is_text(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(data_type))


def _describe_numbers(column: pa.ChunkedArray) -> dict[str, float | tuple[float, ...]]:
    values = number_values(column.drop_null())
    quantiles = np.quantile(values, np.linspace(0.0, 1.0, NUM_QUANTILES))
    return {
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "quantiles": tuple(quantiles.tolist()),
    }


def _mean_words(column: pa.ChunkedArray) -> float:
    # Gaps between words, plus one: no need to build the words.
    gaps = pc.count_substring_regex(pc.utf8_trim_whitespace(column), r"\s+")
    return float(pc.mean(gaps).as_py()) + 1.0


def _top_values(column: pa.ChunkedArray) -> tuple[tuple[str | int | bool, int], ...]:
    if pa.types.is_floating(column.type):
        whole = _as_integers(column)
        if whole is None:
            return ()
        column = whole
    if pa.types.is_temporal(column.type):
        return ()
    counted = pc.value_counts(column.drop_null())
    # By count, then by value: the order must not depend on the order of rows.
    table = pa.table({"value": counted.field("values"), "count": counted.field("counts")})
    order = pc.sort_indices(table, sort_keys=[("count", "descending"), ("value", "ascending")])
    top = table.take(order[:MAX_TOP_VALUES])
    kept: list[tuple[str | int | bool, int]] = []
    num_characters = 0
    for value, count in zip(top["value"].to_pylist(), top["count"].to_pylist(), strict=True):
        num_characters += len(value) if isinstance(value, str) else 0
        if num_characters > _MAX_TOP_CHARACTERS:
            break
        kept.append((value, count))
    return tuple(kept)


def _as_integers(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Floats that are all whole numbers: how integers with gaps are often stored."""
    try:
        return pc.cast(column, pa.int64())
    except pa.ArrowInvalid:
        return None


def _describe_tensor(values: np.ndarray) -> ColumnStatistics:
    """Over all elements; float64 sums block by block, so that memory stays small."""
    if len(values) == 0:
        return ColumnStatistics(num_values=0, num_nulls=0)
    rows = values.reshape(len(values), -1)
    blocks = [rows[first : first + _BLOCK_ROWS] for first in range(0, len(rows), _BLOCK_ROWS)]
    mean = sum(float(block.sum(dtype=np.float64)) for block in blocks) / rows.size
    # Two passes: the one-pass formula loses digits when the mean is large.
    deviations = (np.subtract(block, mean, dtype=np.float64) for block in blocks)
    variance = sum(float(np.square(block).sum()) for block in deviations) / rows.size
    return ColumnStatistics(
        num_values=len(values),
        num_nulls=0,
        minimum=float(values.min()),
        maximum=float(values.max()),
        mean=mean,
        std=variance**0.5,
    )
