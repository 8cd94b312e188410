"""What to learn from: files, how to read them, and which rows are held out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, StringConstraints, model_validator

from raymi.specs.base import Spec

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""Names of datasets and models: lower case, digits, `-` and `_`; safe in a path and a URL."""


class Split(StrEnum):
    """Which rows may be looked at when."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class FileFormat(StrEnum):
    """File formats that can be imported."""

    PARQUET = "parquet"
    CSV = "csv"
    ARROW = "arrow"
    IDX = "idx"
    TEXT = "text"


class SourceSpec(Spec):
    """One file, and what it holds."""

    path: str = Field(min_length=1)
    """File, relative to the spec's `root`."""

    format: FileFormat | None = None
    """How to read it; told from the file name when unset."""

    split: Split | None = None
    """The split all its rows belong to; unset: rows are assigned by `split`'s fractions."""

    labels: str | None = None
    """IDX only: the file with one label per image, relative to `root`."""

    skip_rows: NonNegativeInt = 0
    """CSV and text only: lines to drop before the header or the first row."""

    window: int | None = Field(default=None, ge=2)
    """Text only: characters in a row, line ends included; unset: each line is a row."""


class CsvSpec(Spec):
    """How a delimited text file is written."""

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """The character between two fields."""

    quote: str | None = Field(default='"', min_length=1, max_length=1)
    """The character around a field that holds a delimiter; unset: quotes are ordinary text."""

    columns: tuple[str, ...] = ()
    """Column names, when the file has no header line."""

    null_values: tuple[str, ...] = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")
    """Text that means "missing" (compared after `strip`)."""

    strip: str = " "
    """Characters removed from both ends of every text field."""

    text_columns: tuple[str, ...] = ()
    """Columns that stay text even if their values look like numbers, truth values or times."""


class SplitBy(StrEnum):
    """What decides where a row belongs."""

    CONTENT = "content"
    POSITION = "position"


class SplitSpec(Spec):
    """Which share of the rows is held out, for rows whose source names no split."""

    by: SplitBy = SplitBy.CONTENT
    """`content`: equal rows stay together, and new rows move no other. `position`: the first
    rows train, the next validate, the last test, for rows that follow from each other."""

    validation: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Fraction for choosing settings. Taken from training rows if a source is `split: train`."""

    test: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Fraction never looked at until the end; unused when a source is `split: test`."""

    salt: str = ""
    """Change it to draw another split; a row's place depends on this and its content alone.
    `by: content` only."""

    @model_validator(mode="after")
    def _leave_rows_to_learn_from(self) -> Self:
        if self.validation + self.test >= 1.0:
            raise ValueError(
                f"validation + test = {self.validation + self.test:g} leaves no rows to train on"
            )
        return self


class DataSpec(Spec):
    """A dataset: by name alone if it was imported before, else with its sources."""

    kind: Literal["data"] = "data"
    """Tells specs apart."""

    name: Name
    """What the dataset is called here."""

    version: str | None = Field(default=None, pattern=r"^[0-9a-f]{6,64}$")
    """Fingerprint (or its first characters) of one imported version; unset: the newest."""

    root: str = "."
    """Directory that source paths are relative to."""

    sources: tuple[SourceSpec, ...] = ()
    """Files to import; empty: the dataset must have been imported already."""

    csv: CsvSpec = CsvSpec()
    """How delimited files are written."""

    target: str | None = None
    """The column to predict."""

    split: SplitSpec = SplitSpec()
    """How rows are held out."""

    rows_per_shard: PositiveInt = 65_536
    """Rows in one Arrow file. Does not change the fingerprint."""

    source_url: str | None = None
    """Where the data came from, for the record."""

    licence: str | None = None
    """Terms the data may be used under, for the record."""
