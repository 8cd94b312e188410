"""A process that opens a model in several ways, times them and has them answer rows.

`python -m raymi.serve.tuning.workbench` reads one JSON request a line from standard input and
answers each with one line. It has as many compute threads as a replica would, and a way that brings
it down takes nobody else along: `raymi.serve.tuning.instrument` starts another.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from raymi.data.encoding import number_values
from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.data.preprocessing import ClassTarget, NextByteTarget, NumberTarget
from raymi.errors import RaymiError
from raymi.evaluate.network import default_device
from raymi.evaluate.predictor import Predictions, Predictor
from raymi.registry.bundle import Bundle, load_bundle
from raymi.serve.answers import join
from raymi.serve.backends.catalog import open_backend
from raymi.serve.export.parity import compare
from raymi.serve.export.sample_rows import made_up_rows
from raymi.serve.rows import parse_rows
from raymi.specs.backend import BackendName, ServingPrecision
from raymi.specs.data import Split

_NUM_MADE_UP = 64
_WINDOW_S = 0.05
_FEWEST_PASSES = 3


def main() -> None:
    """Answer requests until there are no more."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    bench: Workbench | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if bench is None:
                bench = Workbench(request)
                answer: dict[str, Any] = {}
            elif request["do"] == "time":
                answer = {"pass_s": bench.time_passes(request)}
            else:
                answer = bench.answer_rows(request)
        except Exception as error:  # noqa: BLE001 - whatever a compiler or a network may raise
            why = error.why if isinstance(error, RaymiError) else f"{type(error).__name__}: {error}"
            answer = {"error": " ".join(str(why).split())[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class Workbench:
    """One model, in every way that was asked for so far."""

    def __init__(self, request: dict[str, Any]) -> None:
        torch.set_num_threads(int(request["num_threads"]))
        self._num_threads = int(request["num_threads"])
        self._cache_dir = Path(request["cache_dir"])
        self._bundle = load_bundle(Path(request["bundle"]), fingerprint=request["fingerprint"])
        self._device = default_device() if request["uses_accelerator"] else torch.device("cpu")
        self._made_up = _made_up(self._bundle)
        self._test = _test_rows(self._bundle, Path(request["store_dir"]))
        self._ways: dict[tuple[str, str], Predictor] = {}
        self._expected: dict[int, Predictions] = {}

    def time_passes(self, request: dict[str, Any]) -> float:
        """Mean seconds of what a replica does for a batch: rows to arrays, network, answers."""
        predictor = self._open(request)
        rows = _cycled(self._test if self._test is not None else self._made_up, request["num_rows"])
        encode = self._bundle.preprocessing.encode
        # The first pass of a size may compile or allocate.
        predictor.predict(encode(rows))
        began_s, count = time.perf_counter(), 0
        while count < _FEWEST_PASSES or time.perf_counter() - began_s < _WINDOW_S:
            predictor.predict(encode(rows))
            count += 1
        return (time.perf_counter() - began_s) / count

    def answer_rows(self, request: dict[str, Any]) -> dict[str, Any]:
        """Scores on the test rows, and how far answers are from the model as it was evaluated."""
        predictor, size = self._open(request), int(request["max_batch_size"])
        tables = [table for table in (self._inputs(self._test), self._made_up) if table is not None]
        found = join([_in_batches(predictor, table, size) for table in tables])
        if size not in self._expected:
            reference = self._bundle.predictor(self._device)
            self._expected[size] = join([_in_batches(reference, t, size) for t in tables])
        difference = compare(self._bundle.precision, self._expected[size], found)
        if not np.isfinite(difference.max_abs_difference):
            raise ValueError("it answers some rows with NaN or infinity")
        scores, counts = self._scores(predictor, found, size)
        return {
            "num_rows": found.num_rows,
            "max_abs_difference": difference.max_abs_difference,
            "labels_differ": difference.labels_differ,
            "scores": scores,
            "counts": counts,
        }

    def _scores(
        self, predictor: Predictor, found: Predictions, size: int
    ) -> tuple[list[float], list[float] | None]:
        table, target = self._test, self._bundle.preprocessing.target
        if table is None:
            return [], None
        match target:
            case ClassTarget():
                truth = self._bundle.preprocessing.encode_target(table)
                right = found.indices[: table.num_rows] == truth
                return right.astype(float).tolist(), None
            case NumberTarget():
                errors = found.values[: table.num_rows] - number_values(table[target.column])
                return np.square(errors).tolist(), None
            case NextByteTarget():
                parts = [predictor.score_texts(part) for part in _batches(table, size)]
                losses = np.concatenate([part.losses for part in parts])
                counts = np.concatenate([part.num_bytes for part in parts])
                return losses.tolist(), counts.tolist()

    def _inputs(self, table: pa.Table | None) -> pa.Table | None:
        return None if table is None else table.select(self._made_up.column_names)

    def _open(self, request: dict[str, Any]) -> Predictor:
        name = request["backend"], request["precision"]
        if name not in self._ways:
            backend = open_backend(
                self._bundle,
                BackendName(name[0]),
                ServingPrecision(name[1]),
                num_threads=self._num_threads,
                device=self._device,
                cache_dir=self._cache_dir,
            )
            self._ways[name] = Predictor(backend, self._bundle.preprocessing)
        return self._ways[name]


def _made_up(bundle: Bundle) -> pa.Table:
    rows = made_up_rows(bundle.preprocessing, bundle.signature, num_rows=_NUM_MADE_UP)
    batch = parse_rows(rows, bundle.signature, max_rows=_NUM_MADE_UP)
    return pa.Table.from_batches([batch])


def _test_rows(bundle: Bundle, store_dir: Path) -> pa.Table | None:
    """The test split the model was judged on; None if it is not here, or has no rows."""
    dataset = bundle.lineage.dataset
    try:
        version, directory = open_dataset(
            store_dir, dataset["name"], dataset["fingerprint"], check=False
        )
        table = load_split(directory, version, Split.TEST)
    except (RaymiError, KeyError):
        return None
    return table.combine_chunks() if table.num_rows else None


def _cycled(table: pa.Table, num_rows: int) -> pa.Table:
    return table.take(pa.array(np.arange(num_rows) % table.num_rows))


def _batches(table: pa.Table, size: int) -> list[pa.Table]:
    return [table.slice(start, size) for start in range(0, table.num_rows, size)]


def _in_batches(predictor: Predictor, table: pa.Table, size: int) -> Predictions:
    """As an endpoint would: rows that share a batch may move each other's answers."""
    with np.errstate(all="ignore"):
        return join([predictor.predict_table(part) for part in _batches(table, size)])


if __name__ == "__main__":
    main()
