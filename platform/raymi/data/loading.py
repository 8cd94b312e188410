"""The rows of one split, memory-mapped: opening costs nothing, workers share the pages."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from raymi.data.version import DatasetVersion, Shard
from raymi.errors import IntegrityError
from raymi.specs.data import Split


def load_split(directory: Path, version: DatasetVersion, split: Split) -> pa.Table:
    """Open one split; rows are in the order of the source.

    Columns are views of the files: nothing is read until it is used. A split without rows is
    an empty table with the dataset's columns.

    Raises:
        IntegrityError: A shard is missing, damaged or has another number of rows.
    """
    shards = [shard for shard in version.shards if shard.split is split]
    if not shards:
        return _open_shard(directory, version.shards[0]).slice(0, 0)
    return pa.concat_tables([_open_shard(directory, shard) for shard in shards])


def _open_shard(directory: Path, shard: Shard) -> pa.Table:
    path = directory / shard.file
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, " ".join(str(error).split())) from error
    if table.num_rows != shard.num_rows:
        raise _damaged(path, f"{table.num_rows} rows instead of {shard.num_rows}")
    return table


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"{path}: damaged shard",
        why=why,
        fix="delete the dataset's directory and import it again",
    )
