"""From a column of text to a column of numbers, truth values or times.

Types are told from all values, never from a sample, and never by majority: a column is
numeric if every value is. A column that almost is, because of a typo or an undeclared
"missing" marker, is refused instead of silently becoming text.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from raymi.errors import DataError

_NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
_COMMA_NUMBER = r"^[-+]?\d+(,\d+)+(\.\d+)?$"
_LEADING_ZERO = r"^[-+]?0\d"
_TRUE = pa.array(["true", "True", "TRUE"])
_TRUTH = pa.array(["true", "True", "TRUE", "false", "False", "FALSE"])
_NUM_PROBES = 8
_TIMES = (pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC"))

MIN_NUMERIC_SHARE = 0.99
"""From this share of numbers on, what is not a number is taken for a mistake."""

MIN_VALUES = 20
"""One exception is always suspect, except among fewer values than this."""


def infer_column(text: pa.ChunkedArray, *, name: str, where: str) -> pa.ChunkedArray:
    """Convert text to int64, float64, bool, date or timestamp if every value is one.

    Numbers with leading zeros (`00501`) are names, and stay text. Null stays null.

    Args:
        text: A string column in which missing values are null already.
        name: The column, for errors.
        where: The file, for errors.

    Raises:
        DataError: Nearly every value is a number, but not all; names the first that is not.
    """
    if text.null_count == len(text):
        return pa.chunked_array([pa.nulls(len(text))])
    if _any(pc.match_substring_regex(text, _LEADING_ZERO)):
        return text if _all(pc.match_substring_regex(text, _NUMBER)) else _infer_time(text)
    for number in (pa.int64(), pa.float64()):
        if (column := _cast(text, number)) is not None:
            return column
    if _all(pc.is_in(text.drop_null(), value_set=_TRUTH)):
        return pc.if_else(pc.is_valid(text), pc.is_in(text, value_set=_TRUE), None)
    column = _infer_time(text)
    if column is text:
        _refuse_nearly_numeric(text, name=name, where=where)
    return column


def _infer_time(text: pa.ChunkedArray) -> pa.ChunkedArray:
    for time in _TIMES:
        if (column := _cast(text, time)) is not None:
            return column
    return text


def _cast(text: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray | None:
    try:
        # Arrow parses all rows before it reports the first failure: ask a few rows first.
        pc.cast(text.drop_null().slice(0, _NUM_PROBES), data_type)
        return pc.cast(text, data_type)
    except pa.ArrowInvalid:
        return None


def _refuse_nearly_numeric(text: pa.ChunkedArray, *, name: str, where: str) -> None:
    is_number = pc.match_substring_regex(text, _NUMBER)
    num_values = len(text) - text.null_count
    num_numbers = pc.sum(is_number).as_py()
    num_other = num_values - num_numbers
    has_commas = _any(pc.match_substring_regex(text, _COMMA_NUMBER))
    if has_commas and _all(pc.or_(is_number, pc.match_substring_regex(text, _COMMA_NUMBER))):
        advice = "write numbers as 1234.5, without commas"
    elif num_values >= MIN_VALUES and num_other <= max(1, (1 - MIN_NUMERIC_SHARE) * num_values):
        advice = "correct it, or add it to `csv.null_values` (--null-value) if it means missing"
    else:
        return
    row = pc.index(is_number, False).as_py()
    value = text[row].as_py()
    raise DataError(
        f"{where}: row {row + 1}, column {name!r}: {value!r} is not a number",
        why=f"{num_numbers} of the column's {num_values} values are numbers, so this looks wrong",
        fix=f"{advice}; if the column is text, name it in `csv.text_columns` (--text-column)",
    )


def _any(mask: pa.ChunkedArray) -> bool:
    return bool(pc.any(mask).as_py())


def _all(mask: pa.ChunkedArray) -> bool:
    return bool(pc.all(mask).as_py())
