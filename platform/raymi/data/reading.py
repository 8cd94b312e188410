"""One source, whatever its format, as a table of canonical types."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa

from raymi.data.canonical import canonical
from raymi.data.columnar import read_arrow, read_parquet
from raymi.data.delimited import read_delimited
from raymi.data.formats import format_of, missing
from raymi.data.idx import read_idx
from raymi.data.plain_text import read_text
from raymi.data.version import SourceFile
from raymi.errors import DataError, SpecError
from raymi.specs.data import CsvSpec, FileFormat, SourceSpec

_CHUNK_BYTES = 1 << 20


def read_source(source: SourceSpec, *, root: Path, csv: CsvSpec) -> pa.Table:
    """Read all rows of one source.

    Raises:
        NotFoundError: There is no such file.
        DataError: The file is unusable; names the file and, where there is one, the row.
        SpecError: Neither the spec nor the file's name says what format it has.
    """
    path = root / source.path
    if path.is_dir():
        raise DataError(
            f"{path}: a directory",
            why="each source of a spec is one file",
            fix="list its files, or import the directory: `raymi data import NAME DIRECTORY`",
        )
    if not path.exists():
        raise missing(path)
    file_format = source.format or _told_by_name(path)
    if source.window is not None and file_format is not FileFormat.TEXT:
        raise SpecError(
            f"{path}: `window` is for plain text, this is {file_format}",
            why="only text can be cut anywhere; these rows are given",
            fix="leave `window` (--window) out, or set `format: text`",
        )
    match file_format:
        case FileFormat.PARQUET:
            table = read_parquet(path)
        case FileFormat.ARROW:
            table = read_arrow(path)
        case FileFormat.CSV:
            table = read_delimited(path, csv, skip_rows=source.skip_rows)
        case FileFormat.TEXT:
            table = read_text(path, skip_rows=source.skip_rows, window=source.window)
        case FileFormat.IDX:
            table = read_idx(path, root / source.labels if source.labels else None)
    return canonical(table, where=str(path))


def describe_source(source: SourceSpec, *, root: Path, num_rows: int) -> list[SourceFile]:
    """What to write down about the files of one source: names, sizes, sha256."""
    names = [source.path, source.labels] if source.labels else [source.path]
    return [
        SourceFile(
            path=name,
            sha256=_sha256(root / name),
            num_bytes=(root / name).stat().st_size,
            num_rows=num_rows,
        )
        for name in names
    ]


def _told_by_name(path: Path) -> FileFormat:
    told = format_of(path.name)
    if told is None:
        raise SpecError(
            f"{path}: unknown format",
            why=f"the name ends in {path.suffix or 'nothing'!r}, which says nothing",
            fix=f"set the source's `format` (--format): {', '.join(FileFormat)}",
        )
    return told


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
