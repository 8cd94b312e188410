"""DatasetVersion: what one import produced, by content.

Arrow types are kept as text (`uint8`, `string`, `fixed_size_list<uint8>[64]`); the shards
are the authority.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from raymi.specs.data import Split as Split  # noqa: PLC0414 - part of this module's vocabulary
from raymi.specs.data import SplitSpec
from raymi.store.record import Record

NUM_QUANTILES = 33
"""Quantiles kept per numeric column: every 1/32 of the rows, both ends included."""

MAX_TOP_VALUES = 1000
"""Distinct values kept per column, most frequent first."""


class ColumnStatistics(Record):
    """One column over one split."""

    num_values: int
    """Rows with a value."""

    num_nulls: int
    """Rows without one."""

    minimum: float | None = None
    """Smallest number (over all elements of a tensor column)."""

    maximum: float | None = None
    """Largest number."""

    mean: float | None = None
    """Arithmetic mean of the numbers."""

    std: float | None = None
    """Population standard deviation of the numbers."""

    quantiles: tuple[float, ...] = ()
    """`NUM_QUANTILES` evenly spaced quantiles of a scalar numeric column."""

    num_distinct: int | None = None
    """Distinct values of a scalar column."""

    top_values: tuple[tuple[str | int | bool, int], ...] = ()
    """Most frequent values of a column of text, truth values or whole numbers, with counts."""

    mean_words: float | None = None
    """Average words in a value of a text column."""


class Column(Record):
    """One column of the dataset."""

    name: str
    """Its name in the source."""

    type: str
    """Arrow type as text, without nullability."""

    shape: tuple[int, ...] = ()
    """Shape of one row's value; empty for scalars."""

    statistics: dict[Split, ColumnStatistics]
    """Per split, so that nothing about held-out rows leaks into preprocessing."""


class Shard(Record):
    """One Arrow IPC file that workers memory-map."""

    file: str
    """File name inside the dataset's directory."""

    split: Split
    """The split all its rows belong to."""

    num_rows: int
    """Rows in the file."""


class SourceFile(Record):
    """One file the rows came from."""

    path: str
    """As the import named it."""

    sha256: str
    """Of its bytes."""

    num_bytes: int
    """Its size."""

    num_rows: int
    """Rows it gave."""


class DatasetVersion(Record):
    """One immutable import."""

    name: str
    """What the dataset is called."""

    fingerprint: str
    """sha256 (hex) of schema, split assignment and every value; not of shard boundaries."""

    target: str | None
    """The column to predict, if the import named one."""

    columns: tuple[Column, ...]
    """In the order of the source."""

    shards: tuple[Shard, ...]
    """Train first, then validation, then test; rows keep the order of the source."""

    split: SplitSpec
    """How rows were held out."""

    sources: tuple[SourceFile, ...]
    """Where the rows came from."""

    source_url: str | None = None
    """Where the source came from."""

    licence: str | None = None
    """Terms of use."""

    imported_at: datetime
    """UTC. Not part of the fingerprint."""

    def num_rows(self, split: Split) -> int:
        """Rows in one split."""
        return sum(shard.num_rows for shard in self.shards if shard.split is split)

    def column(self, name: str) -> Column:
        """Look a column up by name.

        Raises:
            KeyError: There is no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def summary(self) -> dict[str, Any]:
        """What a run writes down about its data."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "num_rows": {split.value: self.num_rows(split) for split in Split},
        }
