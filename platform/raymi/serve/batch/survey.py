"""The input before anything starts: its files, how many rows, which columns, and its identity."""

from __future__ import annotations

import glob
import hashlib
import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from raymi.data.formats import format_of
from raymi.data.library import open_dataset
from raymi.data.loading import shards_of
from raymi.data.version import DatasetVersion
from raymi.errors import DataError, IntegrityError, NotFoundError, SpecError
from raymi.serve.batch.parts import Part, Piece, Reading
from raymi.serve.batch.row_files import UNREADABLE, Dialect, layout, read, unreadable
from raymi.specs.batch_predict import ROW_FORMATS, BatchInputSpec
from raymi.specs.data import CsvSpec, FileFormat, Split
from raymi.store.record import Record

_NUM_THREADS = 4
"""Files that are looked at and hashed at the same time."""


class InputFile(Record):
    """One file, and which rows of the input are its."""

    path: str
    """Absolute."""

    first_row: int
    """The number of its first row."""

    num_rows: int
    """Rows in it."""

    num_bytes: int
    """Its size."""

    modified_ns: int
    """When it was last written, as the file system says."""

    sha256: str | None
    """Of its bytes; None for a file of a dataset, whose fingerprint stands for all."""


@dataclass(frozen=True, slots=True)
class Survey:
    """A whole input, looked at once."""

    source: dict[str, Any]
    """Where it is from, for the record: a dataset and split, or what was asked for."""

    fingerprint: str
    """sha256 (hex) of what is in it, wherever it is kept."""

    dialect: Dialect
    files: tuple[InputFile, ...]
    schemas: tuple[pa.Schema, ...]
    """One for each file."""

    pieces: tuple[Piece, ...]
    """Numbered through the whole input."""

    @property
    def num_rows(self) -> int:
        """Of all files."""
        return sum(file.num_rows for file in self.files)


def survey(spec: BatchInputSpec, *, store_dir: Path) -> Survey:
    """Find the input, read every byte of it once, and number its rows.

    Raises:
        NotFoundError: There is no such dataset or file, or a pattern fits none.
        DataError: A file cannot be read.
        IntegrityError: The dataset is damaged.
        SpecError: It is not clear how to read the files.
    """
    if spec.dataset is not None:
        version, directory = open_dataset(store_dir, spec.dataset, spec.version)
        return _dataset(version, directory, spec.split)
    paths = find_files(spec.files)
    dialect = Dialect(_format(paths, spec.format), spec.csv, spec.skip_rows)
    found = _look_at(paths, dialect, hashes=True)
    contents = [[file.sha256, file.num_rows] for file in found.files]
    reading: list[Any] = [dialect.format.value]
    if dialect.format is FileFormat.CSV:
        reading += [spec.csv.to_document(), spec.skip_rows]
    return Survey(
        source={"files": list(spec.files)},
        fingerprint=_sha256_of({"files": contents, "read_as": reading}),
        dialect=dialect,
        files=found.files,
        schemas=found.schemas,
        pieces=found.pieces,
    )


def find_files(patterns: Sequence[str]) -> list[Path]:
    """Absolute paths of files and of what patterns fit, each once, in the order of the spec.

    Raises:
        NotFoundError: There is no such file, or a pattern fits none.
    """
    paths: dict[Path, None] = {}
    for pattern in patterns:
        is_pattern = glob.has_magic(pattern) and not Path(pattern).exists()
        # Path.glob takes no absolute patterns.
        found = sorted(glob.glob(pattern, recursive=True)) if is_pattern else [pattern]  # noqa: PTH207
        files = [Path(name).resolve() for name in found if Path(name).is_file()]
        if not files:
            raise _nothing(pattern, is_pattern=is_pattern)
        paths.update(dict.fromkeys(files))
    return list(paths)


def rows_of(
    found: Survey, reading: Reading, *, columns: Sequence[str], chunk_rows: int
) -> Iterator[tuple[int, pa.Table]]:
    """The rows of a reading's parts, in order: the number of the first, and a few rows.

    Raises:
        IntegrityError: A file is not the one that was looked at.
        DataError: It cannot be read.
    """
    parts = deque(reading.parts)
    last = reading.parts[-1].end
    for file in found.files:
        row, file_end = max(reading.start, file.first_row), file.first_row + file.num_rows
        if row >= min(last, file_end):
            continue
        path = Path(file.path)
        _require_same(path, file)
        for rows in read(
            path,
            found.dialect,
            columns=columns,
            first=row - file.first_row,
            chunk_rows=chunk_rows,
        ):
            yield from _of_parts(parts, row, rows)
            row += rows.num_rows
            if row >= last:
                return
        if row < file_end:
            raise _changed(path, f"{row - file.first_row} rows instead of {file.num_rows}")


def _of_parts(parts: deque[Part], row: int, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """What belongs to the parts of rows that begin at `row`; drops the parts that are through."""
    end = row + rows.num_rows
    while parts and parts[0].first < end:
        low, high = max(row, parts[0].first), min(end, parts[0].end)
        if low < high:
            yield low, rows.slice(low - row, high - low)
        if parts[0].end > end:
            return
        parts.popleft()


def _dataset(version: DatasetVersion, directory: Path, split: Split | None) -> Survey:
    splits = list(Split) if split is None else [split]
    shards = [shard for each in splits for shard in shards_of(version, each)]
    dialect = Dialect(FileFormat.ARROW, CsvSpec(), 0)
    paths = [directory / shard.file for shard in shards]
    found = _look_at(paths, dialect, hashes=False)
    schemas = found.schemas or (layout(directory / version.shards[0].file, dialect).schema,)
    name = split.value if split else None
    return Survey(
        source={"dataset": version.name, "version": version.fingerprint, "split": name},
        fingerprint=_sha256_of({"dataset": version.fingerprint, "split": name}),
        dialect=dialect,
        files=found.files,
        schemas=schemas,
        pieces=found.pieces,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    files: tuple[InputFile, ...]
    schemas: tuple[pa.Schema, ...]
    pieces: tuple[Piece, ...]


def _look_at(paths: Sequence[Path], dialect: Dialect, *, hashes: bool) -> _Found:
    def one(path: Path) -> tuple[InputFile, pa.Schema, tuple[Piece, ...]]:
        try:
            status = path.stat()
            digest = _sha256(path) if hashes else None
        except UNREADABLE as error:
            raise unreadable(path, dialect, error) from error
        found = layout(path, dialect)
        file = InputFile(
            path=str(path),
            first_row=0,
            num_rows=found.num_rows,
            num_bytes=status.st_size,
            modified_ns=status.st_mtime_ns,
            sha256=digest,
        )
        return file, found.schema, found.pieces

    files: list[InputFile] = []
    schemas: list[pa.Schema] = []
    pieces: list[Piece] = []
    first = 0
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for file, schema, own in pool.map(one, paths):
            files.append(file.model_copy(update={"first_row": first}))
            schemas.append(schema)
            pieces += [
                Piece(first + piece.first, piece.num_rows, piece.starts_anywhere) for piece in own
            ]
            first += file.num_rows
    return _Found(tuple(files), tuple(schemas), tuple(pieces))


def _require_same(path: Path, file: InputFile) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read on this node",
            why=error.strerror or str(error),
            fix="put the input where every node of the cluster reaches it by this path",
        ) from error
    if (status.st_size, status.st_mtime_ns) != (file.num_bytes, file.modified_ns):
        raise _changed(path, "its size or the time of its last change is another one")


def _changed(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"{path}: changed while it was being predicted",
        why=why,
        fix="leave the input alone, then start again with `--new`",
    )


def _format(paths: Sequence[Path], asked: FileFormat | None) -> FileFormat:
    if asked is not None:
        return asked
    told = {format_of(path.name): path for path in reversed(paths)}
    unknown = {found: path for found, path in told.items() if found not in ROW_FORMATS}
    if unknown:
        found, path = next(iter(unknown.items()))
        raise SpecError(
            f"{path}: {found.value if found else 'unknown'} format",
            why=f"the name does not end as those of {', '.join(ROW_FORMATS)} files do",
            fix="set input.format, narrow the pattern, or import it: `raymi data import NAME FILE`",
        )
    if len(told) > 1:
        names = ", ".join(str(path.name) for path in told.values())
        raise SpecError(
            "input.files: files of several formats",
            why=f"there are {names}",
            fix="predict the files of each format by themselves, or narrow the pattern",
        )
    (only,) = told
    if only is None:
        raise TypeError("a format that is none was taken for one")
    return only


def _nothing(pattern: str, *, is_pattern: bool) -> NotFoundError:
    if is_pattern:
        return NotFoundError(
            f"input.files: {pattern} fits no file",
            why=f"patterns are looked up from {Path.cwd()}",
            fix="check the pattern with ls, or use an absolute one",
        )
    path = Path(pattern)
    is_directory = path.is_dir()
    return NotFoundError(
        f"input.files: {pattern} is {'a directory' if is_directory else 'no file'}",
        why="each entry is a file or a pattern"
        if is_directory
        else f"{path.resolve()} does not exist",
        fix=f"use a pattern: {pattern.rstrip('/')}/*.parquet"
        if is_directory
        else "check the path, or use an absolute one",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
