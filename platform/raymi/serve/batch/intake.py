"""An input that a model can read: surveyed, its columns checked, its first rows tried."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from raymi.errors import DataError
from raymi.registry.signature import Signature
from raymi.serve.batch.contract import kept_columns, require_inputs
from raymi.serve.batch.row_files import CHUNK_ROWS, read
from raymi.serve.batch.screening import screen
from raymi.serve.batch.survey import Survey, survey
from raymi.serve.columns import expectation
from raymi.specs.batch_predict import BatchPredictSpec
from raymi.specs.data import FileFormat


@dataclass(frozen=True, slots=True)
class Intake:
    """What is known about an input before any of it is predicted."""

    survey: Survey
    kept: pa.Schema
    """Columns that are written out."""

    row_bytes: int
    """Of a row on its way to the model, told from the first ones."""


def take_in(spec: BatchPredictSpec, signature: Signature, *, store_dir: Path) -> Intake:
    """Look at the whole input, and try its first rows.

    Raises:
        NotFoundError: It is not there.
        DataError: It cannot be read, or a column is missing or of another type; with its name.
        SpecError: The spec does not fit it.
        IntegrityError: The dataset is damaged.
    """
    found = survey(spec.input, store_dir=store_dir)
    wheres = [file.path for file in found.files] or [f"dataset {spec.input.dataset}"]
    for schema, where in zip(found.schemas, wheres, strict=True):
        require_inputs(signature, schema, where=where, file_format=found.dialect.format)
    kept = kept_columns(spec.keep, found.schemas, wheres=wheres)
    return Intake(found, kept, _try_first_rows(found, signature, kept))


def _try_first_rows(found: Survey, signature: Signature, kept: pa.Schema) -> int:
    """Bytes of a row.

    Raises:
        DataError: None of the first values of a column of text is what the model reads.
    """
    names = list(dict.fromkeys([*(f.name for f in signature.inputs), *kept.names]))
    for file in found.files:
        if file.num_rows:
            rows = next(read(Path(file.path), found.dialect, columns=names))
            if found.dialect.format is FileFormat.CSV:
                _require_sense(rows, signature, where=file.path)
            return max(1, 2 * int(rows.nbytes) // int(rows.num_rows))
    return 1


def _require_sense(rows: pa.Table, signature: Signature, *, where: str) -> None:
    """Refuse a CSV column none of whose first values can be read, such as a wrong delimiter's."""
    for field in signature.inputs:
        values = rows.select([field.name]).filter(pc.is_valid(rows.column(field.name)))
        if values.num_rows == 0:
            continue
        _, errors = screen(values, Signature(inputs=(field,), outputs=signature.outputs))
        if errors.null_count == 0:
            raise DataError(
                f"{where}: column {field.name!r} holds nothing that the model can read",
                why=f"it reads {expectation(field)}; none of the first "
                f"{min(values.num_rows, CHUNK_ROWS)} values is that: {errors[0].as_py()}",
                fix="convert the column, or check `input.csv`",
            )
