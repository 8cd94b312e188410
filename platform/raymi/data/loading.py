"""The rows of one split, memory-mapped: opening costs nothing, workers share the pages."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from raymi.data.version import DatasetVersion, Shard
from raymi.errors import IntegrityError
from raymi.specs.data import Split

_READ_AHEAD_BYTES = 128 << 10
"""Asked for at a time; Linux cuts a request at the device's `read_ahead_kb`, 128 by default."""


def shards_of(version: DatasetVersion, split: Split) -> list[Shard]:
    """The shards of one split, in the order of its rows."""
    return [shard for shard in version.shards if shard.split is split]


def load_split(directory: Path, version: DatasetVersion, split: Split) -> pa.Table:
    """Open one split; rows are in the order of the source.

    Columns are views of the files: nothing is read until it is used. A split without rows is
    an empty table with the dataset's columns.

    Raises:
        IntegrityError: A shard is missing, damaged or has another number of rows.
    """
    return pa.concat_tables(open_shards(directory, version, split))


def open_shards(
    directory: Path, version: DatasetVersion, split: Split, *, columns: Sequence[str] | None = None
) -> list[pa.Table]:
    """Open one split as one table, of one chunk, for each shard; at least one table.

    Args:
        directory: Where the shards are.
        version: The dataset.
        split: The split.
        columns: The columns that are wanted; unset: all.

    Raises:
        IntegrityError: A shard is missing, damaged or has another number of rows.
    """
    shards = shards_of(version, split)
    if not shards:
        return [open_shard(directory, version.shards[0], columns=columns).slice(0, 0)]
    return [open_shard(directory, shard, columns=columns) for shard in shards]


def open_shard(directory: Path, shard: Shard, *, columns: Sequence[str] | None = None) -> pa.Table:
    """Open one shard.

    Raises:
        IntegrityError: It is missing, damaged or has another number of rows.
    """
    path = directory / shard.file
    try:
        # Not pa.memory_map, which walks over all pages of the file for each opening.
        with path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        table = pa.ipc.open_file(pa.py_buffer(pages)).read_all()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, " ".join(str(error).split())) from error
    if table.num_rows != shard.num_rows:
        raise _damaged(path, f"{table.num_rows} rows instead of {shard.num_rows}")
    return table if columns is None else table.select(columns)


def read_ahead(directory: Path, version: DatasetVersion, split: Split) -> None:
    """Have the kernel read a split's files in order, before rows are picked from all over them.

    Picking from a cold file reads it in small pieces in random order. Does nothing for what is
    in memory already, nor where the system has no such call.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    for shard in shards_of(version, split):
        with (directory / shard.file).open("rb") as file:
            for first in range(0, os.fstat(file.fileno()).st_size, _READ_AHEAD_BYTES):
                os.posix_fadvise(file.fileno(), first, _READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"{path}: damaged shard",
        why=why,
        fix="delete the dataset's directory and import it again",
    )
