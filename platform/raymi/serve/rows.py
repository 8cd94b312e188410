"""The body of POST /predict: rows as JSON objects, to one record batch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raymi.errors import RequestError
from raymi.registry.signature import InputField, Signature
from raymi.serve.columns import build_column, expectation, json_type
from raymi.specs.paths import closest

_MEMBERS = ("rows", "probabilities")
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What a body asked for."""

    rows: pa.RecordBatch
    """One column per input of the signature."""

    probabilities: bool
    """Whether every class's probability is wanted, not only the best."""


def parse_predict(body: Any, signature: Signature, *, max_rows: int) -> PredictRequest:
    """Check a parsed JSON body against the model's signature.

    Raises:
        RequestError: Naming the field that is wrong; 413 for too many rows.
    """
    if not isinstance(body, dict):
        raise RequestError(
            f"the body is {json_type(body)}, not an object",
            why="rows come in an object, so that options can stand beside them",
            fix=f"send {example_body(signature)}",
        )
    if unknown := _unknown(body, _MEMBERS):
        raise RequestError(
            f"{shorten(unknown)}: unknown member of the body",
            why=f"the body holds {' and '.join(_MEMBERS)}, nothing else",
            fix=f"send {example_body(signature)}",
            field=shorten(unknown),
        )
    probabilities = body.get("probabilities", False)
    if not isinstance(probabilities, bool):
        raise RequestError(
            "probabilities: wrong type",
            why=f"it is {json_type(probabilities)}",
            fix="send true or false",
            field="probabilities",
        )
    return PredictRequest(
        rows=parse_rows(body.get("rows"), signature, max_rows=max_rows),
        probabilities=probabilities,
    )


def parse_rows(rows: Any, signature: Signature, *, max_rows: int) -> pa.RecordBatch:
    """Turn a list of objects into columns.

    Raises:
        RequestError: As `parse_predict`.
    """
    if not isinstance(rows, list) or not rows:
        found = "an empty list" if rows == [] else json_type(rows)
        raise RequestError(
            "rows: one row or more is needed",
            why=f"it is {found if rows is not None else 'missing'}",
            fix=f"send {example_body(signature)}",
            field="rows",
        )
    if len(rows) > max_rows:
        raise too_many_rows("rows", len(rows), max_rows)
    if set(map(type, rows)) != {dict}:
        raise _not_an_object(rows, signature)
    _check_names(rows, signature)
    arrays = [
        build_column(field, [row.get(field.name) for row in rows], RowPlace(field.name))
        for field in signature.inputs
    ]
    return pa.RecordBatch.from_arrays(arrays, names=[f.name for f in signature.inputs])


def too_many_rows(field: str, num_rows: int, max_rows: int) -> RequestError:
    """The 413 that both wire formats give."""
    return RequestError(
        f"{field}: too many rows",
        why=f"{num_rows} rows in one request, the limit is {max_rows}",
        fix="split the request",
        field=field,
        status=413,
    )


def example_body(signature: Signature) -> str:
    """A body this model takes, as one line of JSON."""
    return json.dumps({"rows": [example_row(signature)]})


def example_row(signature: Signature) -> dict[str, Any]:
    """A row this model takes."""
    return {field.name: field.example for field in signature.inputs}


def shorten(name: str) -> str:
    """A name out of a request, fit to be repeated in a message."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."


@dataclass(frozen=True, slots=True)
class RowPlace:
    """Names a row's value."""

    column: str

    def __call__(self, row: int) -> str:
        return f"rows[{row}].{self.column}"


def _check_names(rows: list[dict[str, Any]], signature: Signature) -> None:
    names = {field.name for field in signature.inputs}
    required = {field.name for field in signature.inputs if not field.nullable}
    for index, row in enumerate(rows):
        present = row.keys()
        if present == names:
            continue
        if unknown := _unknown(row, names):
            raise _unknown_column(index, unknown, names)
        if missing := required - present:
            field = next(f for f in signature.inputs if f.name in missing)
            raise missing_column(f"rows[{index}].{field.name}", field)


def _unknown(present: Iterable[str], known: Iterable[str]) -> str | None:
    allowed = set(known)
    return next((name for name in present if name not in allowed), None)


def _unknown_column(row: int, column: str, names: set[str]) -> RequestError:
    name = f"rows[{row}].{shorten(column)}"
    return RequestError(
        f"{name}: unknown column",
        why="the model was trained without a column of this name",
        fix=closest(shorten(column), sorted(names)),
        field=name,
    )


def missing_column(name: str, field: InputField) -> RequestError:
    """What is said of a column, under the name it has in the request, that must be there."""
    return RequestError(
        f"{name}: missing",
        why="the model needs this column in every row",
        fix=f"send {expectation(field)}",
        field=name,
    )


def _not_an_object(rows: list[Any], signature: Signature) -> RequestError:
    index = next(i for i, row in enumerate(rows) if not isinstance(row, dict))
    return RequestError(
        f"rows[{index}]: wrong type",
        why=f"it is {json_type(rows[index])}; a row is an object of columns",
        fix=f"send {json.dumps(example_row(signature))}",
        field=f"rows[{index}]",
    )
