"""Where predictions came from, and the proof that every row has exactly one: `lineage.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from raymi.errors import IntegrityError
from raymi.registry.bundle import Lineage as ModelLineage
from raymi.serve.batch.contract import ERROR, ROW
from raymi.serve.batch.parts import Part, PartReceipt
from raymi.serve.batch.survey import InputFile
from raymi.serve.batch.workspace import Workspace, sha256_of
from raymi.store.record import Record


class InputLineage(Record):
    """What was predicted."""

    source: dict[str, JsonValue]
    """The dataset and its split, or the files that were asked for."""

    fingerprint: str
    """sha256 of what is in it."""

    num_rows: int
    """Rows in it."""

    files: tuple[InputFile, ...]
    """Which rows came from which file."""


class Check(Record):
    """What a last look at the published files has found."""

    num_rows_in: int
    """Rows of the input."""

    num_rows_out: int
    """Rows of all parts."""

    num_distinct_rows: int
    """Of these, different ones."""

    first_row: int | None
    """The smallest number of a row; None without rows."""

    last_row: int | None
    """The largest."""

    num_failed: int
    """Rows with an error in place of a prediction."""

    checked_at: datetime
    """UTC."""


class BatchLineage(Record):
    """`lineage.json`."""

    format: Literal[1] = 1
    """Of this document."""

    model: str
    """NAME@VERSION."""

    model_fingerprint: str
    """sha256 of the bundle's manifest."""

    model_lineage: ModelLineage
    """Where the model came from."""

    classes: tuple[str | int | bool, ...] = ()
    """What the probabilities belong to, in their order; none for a predicted number."""

    input: InputLineage
    """What was predicted."""

    spec: dict[str, Any]
    """As resolved by the attempt that came to the end."""

    spec_fingerprint: str
    """sha256 of it."""

    git_commit: str | None
    """Of the code, with `+dirty` if files differed."""

    environment_sha256: str
    """Of the names and versions of all installed distributions."""

    hardware: dict[str, Any]
    """Of the driver's node."""

    nodes: tuple[dict[str, float], ...]
    """What Ray counted on each node."""

    started_at: datetime
    """UTC, of the first attempt."""

    finished_at: datetime
    """UTC."""

    attempts: int
    """Drivers that worked on it."""

    num_parts: int
    """Files of predictions."""

    check: Check
    """Every row of the input is in the output once."""


def environment_sha256(environment: Mapping[str, str]) -> str:
    """One value that changes with any installed version."""
    return hashlib.sha256(json.dumps(environment, sort_keys=True).encode()).hexdigest()


def check_parts(
    workspace: Workspace,
    parts: Sequence[Part],
    receipts: Mapping[int, PartReceipt],
    *,
    num_rows: int,
    now: datetime,
) -> Check:
    """Read every part back from disk, and count and compare its rows.

    Raises:
        IntegrityError: A row is missing, there twice, or out of its place, or a file has changed.
    """
    names = {workspace.part_path(part).name for part in parts}
    if strangers := {path.name for path in workspace.part_path(parts[0]).parent.iterdir()} - names:
        raise _unproven(min(strangers), "it lies among the predictions and is none of them")
    num_out = num_distinct = num_failed = 0
    first_row: int | None = None
    last_row: int | None = None
    for part in parts:
        path = workspace.part_path(part)
        if sha256_of(path) != receipts[part.index].sha256:
            raise _unproven(path.name, "its bytes are not those that were written")
        table = pq.read_table(path, columns=[ROW, ERROR])
        numbers = _numbers(table)
        if not np.array_equal(numbers, np.arange(part.first, part.end)):
            raise _unproven(path.name, f"its rows are not {part.first} to {part.end - 1}")
        num_out += len(numbers)
        num_failed += table.num_rows - table.column(ERROR).null_count
        if len(numbers):
            # Parts follow each other: what is larger than all before is new.
            fresh = numbers[numbers > last_row] if last_row is not None else numbers
            num_distinct += len(np.unique(fresh))
            first_row = int(numbers[0]) if first_row is None else first_row
            last_row = int(numbers[-1])
    if (num_out, num_distinct) != (num_rows, num_rows):
        raise _unproven("predictions", f"{num_distinct} different rows of {num_rows}")
    return Check(
        num_rows_in=num_rows,
        num_rows_out=num_out,
        num_distinct_rows=num_distinct,
        first_row=first_row,
        last_row=last_row,
        num_failed=num_failed,
        checked_at=now,
    )


def _numbers(table: pa.Table) -> np.ndarray:
    numbers: np.ndarray = table.column(ROW).to_numpy()
    return numbers


def _unproven(name: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"{name}: the last check failed, the output is not complete",
        why=why,
        fix="remove what does not belong there and start the same command again: it makes "
        "damaged parts anew",
    )
