"""Files of rows in three formats: how many rows, which columns, and a few rows at a time.

Nothing here holds more of a file than the rows of one step, a Parquet page, or a block of text.
"""

from __future__ import annotations

import csv as csv_module
import io
import mmap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from raymi.errors import DataError
from raymi.serve.batch.parts import Piece
from raymi.specs.data import CsvSpec, FileFormat

CHUNK_ROWS = 1024
"""Rows that are read at a time."""

UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError, EOFError)
"""What Arrow raises for a file that is cut short, corrupt or something else."""

_ARROW_MAGIC = b"ARROW1"
_CSV_BLOCK_BYTES = 4 << 20
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the files of one input are read."""

    format: FileFormat
    csv: CsvSpec
    skip_rows: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What is in one file."""

    schema: pa.Schema
    pieces: tuple[Piece, ...]
    """Numbered from the file's own first row."""

    @property
    def num_rows(self) -> int:
        """Of the file."""
        return sum(piece.num_rows for piece in self.pieces)


def layout(path: Path, dialect: Dialect) -> Layout:
    """Look at a whole file: of Parquet and Arrow files the ends, of others every row.

    Raises:
        DataError: It cannot be read as what it should be.
    """
    try:
        match dialect.format:
            case FileFormat.PARQUET:
                found = _parquet_layout(path)
            case FileFormat.ARROW:
                found = _arrow_layout(path)
            case _:
                found = _csv_layout(path, dialect)
    except UNREADABLE as error:
        raise unreadable(path, dialect, error) from error
    _require_distinct(found.schema.names, path)
    return found


def read(
    path: Path,
    dialect: Dialect,
    *,
    columns: Sequence[str],
    first: int = 0,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[pa.Table]:
    """Rows from `first` to the file's last, at most `chunk_rows` at a time.

    Raises:
        DataError: It cannot be read; also in the middle.
    """
    try:
        match dialect.format:
            case FileFormat.PARQUET:
                yield from _read_parquet(path, columns, first, chunk_rows)
            case FileFormat.ARROW:
                yield from _chunks(_read_arrow(path, columns, first), chunk_rows)
            case _:
                rows = _after(_read_csv(path, dialect, columns), first)
                yield from _chunks(rows, chunk_rows)
    except UNREADABLE as error:
        raise unreadable(path, dialect, error) from error


def unreadable(path: Path, dialect: Dialect, error: Exception) -> DataError:
    """The error for a file that is not what it should be."""
    return DataError(
        f"{path}: cannot be read as {dialect.format.value}",
        why=" ".join(str(error).split())[:300],
        fix="check `input.csv` (delimiter, quote, columns) and `input.skip_rows`; files are UTF-8"
        if dialect.format is FileFormat.CSV
        else "check path and permissions; copy it again if it was cut short, or leave it out",
    )


def _require_distinct(names: Sequence[str], path: Path) -> None:
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(
            f"{path}: duplicate column name {repeated[0]!r}",
            why=f"{names.count(repeated[0])} of its {len(names)} columns are called that",
            fix="rename them; if a CSV file has no header, name its columns in `input.csv.columns`",
        )


def _pieces(sizes: Sequence[int], *, starts_anywhere: bool) -> tuple[Piece, ...]:
    firsts = accumulate(sizes, initial=0)
    return tuple(
        Piece(first, size, starts_anywhere)
        for first, size in zip(firsts, sizes, strict=False)
        if size
    )


def _parquet_layout(path: Path) -> Layout:
    with pq.ParquetFile(path) as file:
        num_groups = file.metadata.num_row_groups
        sizes = [file.metadata.row_group(i).num_rows for i in range(num_groups)]
        return Layout(file.schema_arrow, _pieces(sizes, starts_anywhere=False))


def _read_parquet(
    path: Path, columns: Sequence[str], first: int, chunk_rows: int
) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        num_groups = file.metadata.num_row_groups
        sizes = [file.metadata.row_group(i).num_rows for i in range(num_groups)]
        ends = list(accumulate(sizes))
        group = next((i for i, end in enumerate(ends) if end > first), num_groups)
        chosen = list(range(group, num_groups))
        if not chosen:
            return
        batches = file.iter_batches(
            batch_size=chunk_rows, row_groups=chosen, columns=list(columns), use_threads=False
        )
        rows = (pa.Table.from_batches([batch]).select(columns) for batch in batches)
        yield from _after(rows, first - (ends[group] - sizes[group]))


def _is_arrow_file(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC


def _mapped(path: Path) -> pa.Buffer:
    with path.open("rb") as file:
        return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _arrow_layout(path: Path) -> Layout:
    if path.stat().st_size == 0:
        raise pa.ArrowInvalid("the file is empty")
    if not _is_arrow_file(path):
        with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
            num_rows = sum(batch.num_rows for batch in stream)
            return Layout(stream.schema, _pieces([num_rows], starts_anywhere=False))
    reader = pa.ipc.open_file(_mapped(path))
    sizes = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
    return Layout(reader.schema, _pieces(sizes, starts_anywhere=True))


def _read_arrow(path: Path, columns: Sequence[str], first: int) -> Iterator[pa.Table]:
    if not _is_arrow_file(path):
        with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                rows = pa.Table.from_batches([batch]).select(columns)
                yield rows.slice(first)
                first = max(0, first - rows.num_rows)
        return
    reader = pa.ipc.open_file(_mapped(path))
    for index in range(reader.num_record_batches):
        rows = pa.Table.from_batches([reader.get_batch(index)]).select(columns)
        yield rows.slice(first)
        first = max(0, first - rows.num_rows)


def _chunks(tables: Iterator[pa.Table], chunk_rows: int) -> Iterator[pa.Table]:
    for rows in tables:
        for start in range(0, rows.num_rows, chunk_rows):
            yield rows.slice(start, chunk_rows)


def _after(chunks: Iterator[pa.Table], first: int) -> Iterator[pa.Table]:
    """Leave the first rows out."""
    for rows in chunks:
        if first < rows.num_rows:
            yield rows.slice(first)
            first = 0
        else:
            first -= rows.num_rows


def _csv_layout(path: Path, dialect: Dialect) -> Layout:
    names = _csv_names(path, dialect)
    _require_distinct(names, path)
    schema = pa.schema([(name, pa.string()) for name in names])
    num_rows = sum(rows.num_rows for rows in _read_csv(path, dialect, names))
    return Layout(schema, _pieces([num_rows], starts_anywhere=False))


def _csv_names(path: Path, dialect: Dialect) -> list[str]:
    csv = dialect.csv
    if csv.columns:
        return list(csv.columns)
    with pa.input_stream(path, compression="detect") as source:
        head = source.read(_HEAD_BYTES)
    lines = io.TextIOWrapper(io.BytesIO(head), encoding="utf-8-sig", errors="replace", newline="")
    for _ in range(dialect.skip_rows):
        lines.readline()
    rows = csv_module.reader(
        lines,
        delimiter=csv.delimiter,
        quotechar=csv.quote or '"',
        quoting=csv_module.QUOTE_MINIMAL if csv.quote else csv_module.QUOTE_NONE,
    )
    try:
        first = next((row for row in rows if row), None)
    except csv_module.Error as error:
        raise pa.ArrowInvalid(f"its header: {error}") from error
    if first is None:
        raise pa.ArrowInvalid("the file is empty: it has no header")
    return [name.strip(csv.strip) for name in first]


def _read_csv(path: Path, dialect: Dialect, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Every field as text, stripped; what means "missing" is null."""
    csv = dialect.csv
    names = _csv_names(path, dialect)
    num_header_rows = 0 if csv.columns else 1
    with pa.input_stream(path, compression="detect") as source:
        try:
            reader = pa_csv.open_csv(
                source,
                read_options=pa_csv.ReadOptions(
                    use_threads=False,
                    block_size=_CSV_BLOCK_BYTES,
                    column_names=names,
                    skip_rows=dialect.skip_rows + num_header_rows,
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=csv.delimiter,
                    quote_char=csv.quote or False,
                    newlines_in_values=csv.quote is not None,
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=False,
                    include_columns=list(columns),
                ),
            )
        except pa.ArrowInvalid as error:
            # A header alone, with or without an end of line.
            if any(text in str(error) for text in ("Empty CSV", "Could not skip initial")):
                return
            raise
        for batch in reader:
            yield pa.table({name: _meant(batch.column(name), csv) for name in columns})


def _meant(text: pa.Array, csv: CsvSpec) -> pa.Array:
    stripped = pc.utf8_trim(text, characters=csv.strip) if csv.strip else text
    if not csv.null_values:
        return stripped
    missing = pc.is_in(stripped, value_set=pa.array(csv.null_values, type=pa.string()))
    return pc.if_else(missing, pa.scalar(None, type=pa.string()), stripped)
