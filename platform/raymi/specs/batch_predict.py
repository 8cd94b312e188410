"""A registered model over many rows at once: which rows, what to write, with how many actors."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from raymi.specs.base import Spec
from raymi.specs.data import CsvSpec, FileFormat, Name, Split

ROW_FORMATS = (FileFormat.PARQUET, FileFormat.CSV, FileFormat.ARROW)
"""File formats that can be predicted without an import."""

ALL_COLUMNS = "*"
"""Stands for every column of the input."""


class BatchInputSpec(Spec):
    """The rows: of an imported dataset, or of files."""

    dataset: Name | None = None
    """An imported dataset."""

    version: str | None = Field(default=None, pattern=r"^[0-9a-f]{6,64}$")
    """Dataset only: fingerprint (or its first characters) of one version; unset: the newest."""

    split: Split | None = None
    """Dataset only: its rows alone; unset: all, those of `train` first, those of `test` last."""

    files: tuple[str, ...] = ()
    """Paths or glob patterns (`**` too), in place of a dataset. Rows are numbered in this order;
    the files of a pattern come by name. Every node must reach them."""

    format: FileFormat | None = None
    """Files only: `parquet`, `csv` or `arrow`; told from the file names when unset."""

    csv: CsvSpec = CsvSpec()
    """Files only: how delimited ones are written. Types are those the model was trained on."""

    skip_rows: NonNegativeInt = 0
    """CSV files only: lines to drop before the header or the first row of each."""

    @model_validator(mode="after")
    def _rows_come_from_one_place(self) -> Self:
        if (self.dataset is None) == (not self.files):
            raise ValueError("name either `dataset` or `files`, one of them")
        if self.files and (self.version is not None or self.split is not None):
            raise ValueError("`version` and `split` belong to a dataset, `files` have none")
        if self.format is not None and self.format not in ROW_FORMATS:
            raise ValueError(
                f"{self.format.value} files must be imported first; "
                f"`format` is one of {', '.join(ROW_FORMATS)}"
            )
        return self


class ActorsSpec(Spec):
    """The processes that hold the model. They change how fast it goes, never what comes out."""

    min_size: PositiveInt = 1
    """Actors that are started at once, and kept."""

    max_size: PositiveInt | None = None
    """Actors at most, as work waits; unset: as many as the cluster has room for."""

    cpus_per_actor: PositiveFloat = 1.0
    """CPUs reserved for each; also bounds its compute threads."""

    gpus_per_actor: NonNegativeFloat | None = None
    """Accelerators reserved for each; below 1, actors share one. Unset: 1 if there are any."""

    @model_validator(mode="after")
    def _sizes_can_be_had(self) -> Self:
        if self.max_size is not None and self.max_size < self.min_size:
            raise ValueError(f"max_size={self.max_size} is less than min_size={self.min_size}")
        gpus = self.gpus_per_actor
        if gpus is not None and gpus > 1 and not gpus.is_integer():
            raise ValueError(
                f"gpus_per_actor={gpus:g} is neither a share of one nor a whole number"
            )
        return self


class BatchPredictSpec(Spec):
    """One registered model over one set of rows, into one directory."""

    kind: Literal["batch_predict"] = "batch_predict"
    """Tells specs apart."""

    model: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}@[a-z0-9]+$")
    """`NAME@ALIAS` or `NAME@VERSION`, such as `digits@champion` or `digits@3`."""

    input: BatchInputSpec
    """The rows to predict."""

    output: str = Field(min_length=1)
    """Directory of the predictions; a relative one is made in the store, under `predictions/`."""

    keep: tuple[str, ...] = ()
    """Columns of the input to write beside the predictions, `*` for all; rows always have their
    number."""

    probabilities: bool = False
    """Whether to write the probability of every class, not only that of the best."""

    max_batch_size: PositiveInt | None = None
    """Rows in one forward pass; unset: the largest that the model's sweep found worth trying."""

    rows_per_part: PositiveInt = 65_536
    """Rows in one Parquet file; an interruption costs the one that is being written."""

    actors: ActorsSpec = ActorsSpec()
    """Who predicts."""
