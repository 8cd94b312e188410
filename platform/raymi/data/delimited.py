"""Delimited text (CSV, TSV) as a typed table, or the first row that is wrong.

Every field is read as text, then stripped, then compared with the null values, then typed:
in that order, so that `strip` can uncover both.
"""

from __future__ import annotations

import csv as csv_module
import io
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from raymi.data.formats import decode, empty, read_bytes
from raymi.data.inference import infer_column
from raymi.errors import DataError, SpecError
from raymi.specs.data import CsvSpec
from raymi.specs.paths import closest

_MIN_BLOCK_BYTES, _MAX_BLOCK_BYTES = 1 << 20, 1 << 28
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_ROWS_TO_JUDGE = 20


def read_delimited(path: Path, csv: CsvSpec, *, skip_rows: int) -> pa.Table:
    """Read one file.

    Raises:
        DataError: Ragged, badly quoted, not UTF-8, empty, wrongly delimited, with unusable
            column names, or with a column that is numeric except for a few rows.
        SpecError: The dialect is impossible, or `text_columns` names no column.
    """
    _check_dialect(csv)
    content = read_bytes(path)
    decode(content, path)  # Only to refuse what is not UTF-8, with the line.
    names = list(csv.columns) or _header(content, csv, path=path, skip_rows=skip_rows)
    _check_names(names, path=path, given=bool(csv.columns))
    _check_text_columns(names, csv, path)
    table = _read_as_text(content, names, csv, path=path, skip_rows=skip_rows)
    if table.num_rows == 0:
        raise empty(path)
    _check_quotes(content, table, csv, path)
    _check_delimiter(table, csv, path)
    columns = {}
    for name, column in zip(names, table.columns, strict=True):
        text = _with_nulls(_stripped(column, csv), csv)
        typed = name not in csv.text_columns
        columns[name] = infer_column(text, name=name, where=str(path)) if typed else text
    if not csv.columns:
        _check_first_row(columns, path)
    return pa.table(columns)


def _check_first_row(columns: dict[str, pa.ChunkedArray], path: Path) -> None:
    """Refuse a header that is a row like the others: the file has none.

    It is one if it fits every column's type, and a name is also a value of its own column.
    Numbers alone do not say much, for years and counters (1990, 1991, ...) do name columns.
    """
    texts = {name: column for name, column in columns.items() if column.type == pa.string()}
    numbers = [_as_number(name) for name in columns if name not in texts]
    if None in numbers:
        return
    if texts:
        is_row = any(pc.any(pc.equal(column, name)).as_py() for name, column in texts.items())
    else:
        steps = {b - a for a, b in pairwise(number for number in numbers if number is not None)}
        is_row = steps not in (set(), {1.0})
    if is_row:
        raise DataError(
            f"{path}: the first line is a row, not a header",
            why=f"{_shortened(', '.join(columns))!r} has values like those below it",
            fix="name the columns with --columns a,b,c (`csv.columns`); if it is the header "
            "all the same, add --skip-rows 1",
        )


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _header(content: bytes, csv: CsvSpec, *, path: Path, skip_rows: int) -> list[str]:
    lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    try:
        for _ in range(skip_rows):
            lines.readline()
        rows = csv_module.reader(
            lines,
            delimiter=csv.delimiter,
            quotechar=csv.quote or '"',
            quoting=csv_module.QUOTE_MINIMAL if csv.quote else csv_module.QUOTE_NONE,
        )
        first = next((row for row in rows if row), None)
    except csv_module.Error as error:
        raise DataError(
            f"{path}: the header cannot be read",
            why=str(error),
            fix="check delimiter and quotes, and that this is a text file",
        ) from error
    if first is None:
        raise empty(path)
    return [name.strip(csv.strip) for name in first]


def _check_dialect(csv: CsvSpec) -> None:
    special = [csv.delimiter, *([csv.quote] if csv.quote else [])]
    for character in special:
        if not character.isascii() or character in "\r\n":
            raise SpecError(
                f"csv: {character!r} cannot separate or quote fields",
                why="delimiter and quote are single ASCII characters other than line ends",
                fix="convert the file, for example to comma-separated",
            )
    if len(set(special)) < len(special):
        raise SpecError(
            f"csv: {csv.delimiter!r} cannot be both delimiter and quote",
            why="a field could not be told from its end",
            fix="change one of them, or set `csv.quote: null` (--no-quote)",
        )


def _check_text_columns(names: list[str], csv: CsvSpec, path: Path) -> None:
    for name in csv.text_columns:
        if name not in names:
            raise SpecError(
                f"csv.text_columns: no column {name!r} in {path}",
                why=f"the columns are {', '.join(names)}",
                fix=closest(name, names),
            )


def _check_names(names: list[str], *, path: Path, given: bool) -> None:
    fix = (
        "give every column its own name in `csv.columns` (--columns)"
        if given
        else "correct the header, or name the columns with --columns if the file has no header"
    )
    if repeated := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise DataError(
            f"{path}: duplicate column name {repeated[0]!r}",
            why=f"{names.count(repeated[0])} of its {len(names)} columns are called that",
            fix=fix,
        )
    if "" in names:
        raise DataError(
            f"{path}: column {names.index('') + 1} has no name",
            why=f"the names are {', '.join(repr(name) for name in names[:8])}",
            fix=fix,
        )


def _read_as_text(
    content: bytes, names: list[str], csv: CsvSpec, *, path: Path, skip_rows: int
) -> pa.Table:
    bad_rows: list[pa_csv.InvalidRow] = []

    def refuse(row: pa_csv.InvalidRow) -> str:
        bad_rows.append(row)
        return "error"

    num_header_rows = 0 if csv.columns else 1
    try:
        return pa_csv.read_csv(
            pa.BufferReader(content),
            read_options=pa_csv.ReadOptions(
                use_threads=False,  # Row numbers are only known when blocks are read in turn.
                block_size=min(max(len(content), _MIN_BLOCK_BYTES), _MAX_BLOCK_BYTES),
                skip_rows=skip_rows,
                column_names=names,
                skip_rows_after_names=num_header_rows,
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=csv.delimiter,
                quote_char=csv.quote or False,
                newlines_in_values=csv.quote is not None,
                invalid_row_handler=refuse,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        if bad_rows:
            row = bad_rows[0]
            number = row.number - skip_rows - num_header_rows
            raise _ragged(path, row, number=number, csv=csv) from error
        raise DataError(
            f"{path}: not a readable CSV file",
            why=" ".join(str(error).split()),
            fix="check delimiter and quotes",
        ) from error


def _ragged(path: Path, row: pa_csv.InvalidRow, *, number: int, csv: CsvSpec) -> DataError:
    source = "`csv.columns`" if csv.columns else "the header"
    return DataError(
        f"{path}: row {number} has {row.actual_columns} fields instead of {row.expected_columns}",
        why=f"{source} names {row.expected_columns} columns; the row is {_shortened(row.text)!r}",
        fix="correct the row, or check delimiter and quotes",
    )


def _check_quotes(content: bytes, table: pa.Table, csv: CsvSpec, path: Path) -> None:
    """Refuse a quote that is opened and never closed: it swallows the rest of the file."""
    if csv.quote is None or content.count(csv.quote.encode()) % 2 == 0:
        return
    last_row = [column[-1].as_py() for column in table.columns]
    if any("\n" in value for value in last_row):
        raise DataError(
            f"{path}: row {table.num_rows} opens a quote that is never closed",
            why=f"the rest of the file became one field: {_shortened(last_row[-1])!r}",
            fix="close the quote, or pass --no-quote (`csv.quote: null`) if quotes are plain text",
        )


def _check_delimiter(table: pa.Table, csv: CsvSpec, path: Path) -> None:
    """Refuse a single column whose every field holds the same number of another delimiter."""
    if table.num_columns != 1 or csv.delimiter not in _DELIMITERS:
        return
    fields = [*table.column_names, *table.column(0).slice(0, _ROWS_TO_JUDGE).to_pylist()]
    for delimiter, name in _DELIMITERS.items():
        counts = {field.count(delimiter) for field in fields}
        if delimiter != csv.delimiter and len(counts) == 1 and counts != {0}:
            raise DataError(
                f"{path}: one column, {_shortened(fields[0])!r}",
                why=f"every row holds {name}, so that is probably the delimiter",
                fix=f"pass --delimiter {delimiter!r} (`csv.delimiter`)",
            )


def _stripped(column: pa.ChunkedArray, csv: CsvSpec) -> pa.ChunkedArray:
    return pc.utf8_trim(column, characters=csv.strip) if csv.strip else column


def _with_nulls(column: pa.ChunkedArray, csv: CsvSpec) -> pa.ChunkedArray:
    if not csv.null_values:
        return column
    missing = pc.is_in(column, value_set=pa.array(csv.null_values, type=pa.string()))
    return pc.if_else(missing, pa.scalar(None, type=pa.string()), column)


def _shortened(text: str, length: int = 80) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
