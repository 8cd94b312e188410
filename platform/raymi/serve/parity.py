"""Is what is served what was measured? Every row over HTTP, against the offline predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import requests

from raymi.data.preprocessing import Preprocessing, TensorFeature
from raymi.data.tensors import tensor_view
from raymi.errors import UnreachableError
from raymi.store.record import Record

Value = str | int | float | bool

_RELATIVE_TOLERANCE = 1e-5
"""Regression only: batches of different sizes add the same numbers in another order."""

_TIMEOUT_S = 30.0


class Parity(Record):
    """What came back, row by row, against what was expected."""

    num_rows: int
    """Rows sent."""

    mismatches: int
    """Rows whose served prediction is not the offline one."""

    offline_accuracy: float
    """Share of rows that the offline predictions get right."""

    served_accuracy: float
    """Share of rows that the endpoint gets right."""


def json_rows(table: pa.Table, preprocessing: Preprocessing) -> list[dict[str, Any]]:
    """The rows of a table as a client would send them: the model's columns, as plain JSON."""
    columns: dict[str, list[Any]] = {}
    for feature in preprocessing.features:
        column = table.column(feature.column)
        if isinstance(feature, TensorFeature):
            columns[feature.column] = tensor_view(column, feature.shape).tolist()
        else:
            columns[feature.column] = column.to_pylist()
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def fetch_predictions(
    endpoint: str,
    rows: Sequence[dict[str, Any]],
    *,
    headers: Mapping[str, str],
    num_clients: int = 8,
) -> list[Value]:
    """Send each row as one request, several at once, so that batches form as they would.

    Args:
        endpoint: The URL of /predict.
        rows: As JSON has them.
        headers: Such as the one that carries the token.
        num_clients: How many are under way at once.

    Raises:
        UnreachableError: A request failed or was refused.
    """
    with ThreadPoolExecutor(num_clients) as pool, requests.Session() as session:
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=num_clients)
        session.mount("http://", adapter)
        session.headers.update(headers)
        return list(pool.map(lambda row: _predict(session, endpoint, row), rows))


def compare(served: Sequence[Value], offline: Sequence[Value], targets: Sequence[Value]) -> Parity:
    """Count differing rows, and how often each side is right."""
    pairs = list(zip(served, offline, targets, strict=True))
    return Parity(
        num_rows=len(pairs),
        mismatches=sum(not _is_same(a, b) for a, b, _ in pairs),
        offline_accuracy=sum(_is_same(b, target) for _, b, target in pairs) / len(pairs),
        served_accuracy=sum(_is_same(a, target) for a, _, target in pairs) / len(pairs),
    )


def _predict(session: requests.Session, endpoint: str, row: dict[str, Any]) -> Value:
    try:
        response = session.post(endpoint, json={"rows": [row]}, timeout=_TIMEOUT_S)
        response.raise_for_status()
    except requests.RequestException as error:
        raise UnreachableError(
            f"{endpoint}: a row got no prediction",
            why=str(error),
            fix="look at the application: `raymi deployments`",
        ) from error
    (prediction,) = response.json()["predictions"]
    value: Value = prediction["label"] if "label" in prediction else prediction["prediction"]
    return value


def _is_same(left: Value, right: Value) -> bool:
    if isinstance(left, float) or isinstance(right, float):
        return math.isclose(float(left), float(right), rel_tol=_RELATIVE_TOLERANCE)
    return left == right
