"""Parquet and Arrow IPC files (file or stream) as tables."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raymi.data.formats import empty, missing
from raymi.errors import DataError

_ARROW_MAGIC = b"ARROW1"
_PARQUET_MAGIC = b"PAR1"
_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
"""Row labels that pandas writes as a column and hides again when it reads."""


def read_parquet(path: Path) -> pa.Table:
    """Read a Parquet file.

    Raises:
        DataError: The file is empty, truncated, corrupt or something else.
    """
    _require_bytes(path)
    try:
        return _without_index(pq.ParquetFile(path).read())
    except _UNREADABLE as error:
        raise _unreadable(path, "Parquet", error) from error


def read_arrow(path: Path) -> pa.Table:
    """Read an Arrow IPC file or stream, told apart by its first bytes.

    Raises:
        DataError: The file is empty, truncated, corrupt or something else.
    """
    _require_bytes(path)
    try:
        with path.open("rb") as file:
            is_file = file.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC
        with pa.OSFile(str(path)) as source:
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            table = reader.read_all()
        table.validate(full=True)
        return _without_index(table)
    except _UNREADABLE as error:
        raise _unreadable(path, "Arrow IPC", error) from error


def _without_index(table: pa.Table) -> pa.Table:
    index = [name for name in table.column_names if _PANDAS_INDEX.fullmatch(name)]
    return table.drop_columns(index) if index else table


def _require_bytes(path: Path) -> None:
    if not path.is_file():
        raise missing(path)
    if path.stat().st_size == 0:
        raise empty(path)


def _unreadable(path: Path, name: str, error: Exception) -> DataError:
    with path.open("rb") as file:
        start = file.read(len(_ARROW_MAGIC))
    looks_right = start.startswith(_PARQUET_MAGIC if name == "Parquet" else _ARROW_MAGIC)
    return DataError(
        f"{path}: not a readable {name} file",
        why=" ".join(str(error).split()),
        fix="copy or download it again: it is probably cut short"
        if looks_right
        else "check the path, or say what it is with `format`",
    )
