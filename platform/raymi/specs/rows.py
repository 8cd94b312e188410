"""How rows reach the model: from memory-mapped shards, or streamed through Ray Data."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, PositiveInt

from raymi.specs.base import Spec


class RowSourceName(StrEnum):
    """Where a step's rows are gathered from."""

    AUTO = "auto"
    MEMORY_MAP = "memory_map"
    STREAM = "stream"


class RowsSpec(Spec):
    """The way from the dataset to the accelerator. The order of rows depends on nothing else."""

    source: RowSourceName = RowSourceName.AUTO
    """`memory_map` where the dataset fits `max_memory_fraction` of a node, else `stream`."""

    max_memory_fraction: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of the smallest node's memory that a memory-mapped dataset may take."""

    shuffle_block_rows: PositiveInt = 1024
    """`stream` only: rows that are read together; blocks are drawn in random order."""

    shuffle_window_blocks: PositiveInt = 16
    """`stream` only: blocks whose rows are mixed with each other."""
