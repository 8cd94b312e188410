"""Which way the training rows come, and opening it."""

from __future__ import annotations

from pathlib import Path

from raymi.data.loading import shards_of
from raymi.data.version import DatasetVersion, Split
from raymi.specs.rows import RowSourceName, RowsSpec
from raymi.train.batch import RowSource
from raymi.train.plan import TrainPlan


def choose_row_source(
    spec: RowsSpec, *, dataset_bytes: int, node_memory_bytes: int
) -> RowSourceName:
    """Take what was asked for; for `auto`, what the smallest node's memory allows.

    >>> choose_row_source(RowsSpec(), dataset_bytes=3 << 30, node_memory_bytes=8 << 30).value
    'memory_map'
    """
    if spec.source is not RowSourceName.AUTO:
        return spec.source
    if dataset_bytes <= spec.max_memory_fraction * node_memory_bytes:
        return RowSourceName.MEMORY_MAP
    return RowSourceName.STREAM


def dataset_bytes(directory: Path, version: DatasetVersion) -> int:
    """Size of the files that training reads again and again."""
    return sum((directory / shard.file).stat().st_size for shard in shards_of(version, Split.TRAIN))


def open_rows(plan: TrainPlan, *, rank: int, num_workers: int) -> RowSource:
    """Open the plan's row source for one worker.

    Raises:
        IntegrityError: A shard is damaged.
        DataError: A target is missing or unknown.
    """
    if plan.row_source is RowSourceName.STREAM:
        # Loads Ray Data, which nothing else needs.
        from raymi.train.stream_rows import StreamedRows

        return StreamedRows(plan, rank=rank, num_workers=num_workers)
    from raymi.train.memory_rows import MemoryMappedRows

    return MemoryMappedRows(plan, rank=rank, num_workers=num_workers)
