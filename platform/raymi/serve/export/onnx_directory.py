"""A registered model as a directory of its own: written, run as written, compared, published.

model.onnx           the network
preprocessing.json   from rows to the network's inputs, as in the bundle
signature.json       what a row is, and an answer
run.py               predicts; needs numpy and onnxruntime
example.json         a row it takes
parity.json          how its answers compare with the registered model's
README.md            how to run it
MANIFEST.json        sha256 and size of all of these
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import version as installed
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

import raymi
from raymi.accelerators.catalog import CPU
from raymi.data.preprocessing import NumberTarget, Preprocessing
from raymi.errors import ConflictError, ExportError
from raymi.evaluate.network import EagerNetwork
from raymi.evaluate.predictor import Predictions, Predictor
from raymi.registry.bundle import Bundle
from raymi.serve.backends.build import build_here
from raymi.serve.backends.catalog import probe, require
from raymi.serve.backends.onnx_model import onnx_model
from raymi.serve.export.instructions import readme
from raymi.serve.export.parity import TOLERANCES, ExportParity, compare, judge
from raymi.serve.export.sample_rows import Row, made_up_rows, rows_of_test_split
from raymi.serve.rows import example_body, parse_rows
from raymi.specs.backend import BackendName, ServingPrecision
from raymi.specs.precision import Precision
from raymi.store.artifacts import staging

MODEL = "model.onnx"
PREPROCESSING = "preprocessing.json"
SIGNATURE = "signature.json"
RUN = "run.py"
EXAMPLE = "example.json"
PARITY = "parity.json"
README = "README.md"

ONNX_DIR = "onnx"
"""Below the store: converted networks, found again by the next export or replica."""

_NUM_TEST_ROWS = 256
_NUM_MADE_UP_ROWS = 128
_TIMEOUT_S = 600.0
_DISTRIBUTIONS = ("numpy", "torch", "onnx", "onnxruntime")


def export_onnx(
    bundle: Bundle,
    model: str,
    destination: Path,
    *,
    precision: ServingPrecision,
    store_dir: Path,
) -> ExportParity:
    """Write the directory, if what is in it answers as the registered model does.

    Args:
        bundle: The registered model.
        model: What it is called, such as `digits@3`.
        destination: The directory; its parents are made.
        precision: fp32 or int8.
        store_dir: Where the dataset of its test rows may be, and converted networks are kept.

    Returns:
        The comparison, which it has passed.

    Raises:
        CapabilityError: The packages are not installed, or the network cannot be converted.
        ConflictError: Something is there already.
        ExportError: Its answers are too different; nothing was written.
    """
    require(BackendName.ONNX, precision, probe(CPU))
    if destination.exists():
        raise ConflictError(
            f"{destination}: exists already",
            why="an export never replaces files",
            fix="remove it, or give another directory with --output",
        )
    network = onnx_model(bundle, precision, cache_dir=store_dir / ONNX_DIR, build=build_here)
    with staging(destination) as directory:
        (directory / MODEL).write_bytes(network)
        bundle.preprocessing.save(directory / PREPROCESSING)
        bundle.signature.save(directory / SIGNATURE)
        script = files("raymi.serve.export") / "standalone.py"
        (directory / RUN).write_bytes(script.read_bytes())
        body = json.loads(example_body(bundle.signature))
        (directory / EXAMPLE).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
        parity = _measure(bundle, model, directory, precision=precision, store_dir=store_dir)
        if not parity.passed:
            raise ExportError(
                f"{model} as ONNX in {precision}: answers unlike the registered model",
                why=parity.sentence,
                fix="export it with --precision fp32"
                if precision is ServingPrecision.INT8
                else "serve it with Raymi, and report the network",
            )
        parity.save(directory / PARITY)
        (directory / README).write_text(readme(bundle, parity), encoding="utf-8")
    return parity


def run_alone(script: Path, rows: list[Row]) -> list[dict[str, Any]]:
    """What an exported `run.py` predicts, in a process without any other package.

    Raises:
        ExportError: It fails.
    """
    bare = files("raymi.serve.export") / "bare_process.py"
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-B", str(bare), str(script), "--probabilities"],
            input=json.dumps({"rows": rows}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
            timeout=_TIMEOUT_S,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = error.stderr.strip()[-300:] if isinstance(error.stderr, str) else ""
        raise ExportError(
            f"{script.name}: the exported model does not run alone",
            why=said or str(error),
            fix="run it by hand with the rows of example.json, and report the network",
        ) from error
    predictions: list[dict[str, Any]] = json.loads(done.stdout)["predictions"]
    return predictions


def _measure(
    bundle: Bundle, model: str, directory: Path, *, precision: ServingPrecision, store_dir: Path
) -> ExportParity:
    """Ask both sides for the same rows."""
    tested = rows_of_test_split(bundle, store_dir, num_rows=_NUM_TEST_ROWS)
    made_up = made_up_rows(bundle.preprocessing, bundle.signature, num_rows=_NUM_MADE_UP_ROWS)
    rows = tested + made_up
    found = _as_predictions(run_alone(directory / RUN, rows), bundle.preprocessing)
    table = pa.Table.from_batches([parse_rows(rows, bundle.signature, max_rows=len(rows))])
    exact = compare(Precision.FP32, _expected(bundle, Precision.FP32, table), found)
    as_evaluated = compare(bundle.precision, _expected(bundle, bundle.precision, table), found)
    verdict = judge(exact, precision, len(rows))
    return ExportParity(
        model=model,
        bundle=bundle.fingerprint,
        precision=precision,
        num_rows=len(rows),
        num_test_rows=len(tested),
        exact=exact,
        as_evaluated=as_evaluated,
        tolerance=TOLERANCES[precision].difference,
        labels_tolerance=TOLERANCES[precision].labels,
        passed=verdict.passed,
        sentence=verdict.sentence,
        versions={
            "raymi": raymi.__version__,
            "python": platform.python_version(),
            **{name: installed(name) for name in _DISTRIBUTIONS},
        },
    )


def _expected(bundle: Bundle, precision: Precision, table: pa.Table) -> Predictions:
    network = EagerNetwork(bundle.model(), precision=precision, device=torch.device("cpu"))
    return Predictor(network, bundle.preprocessing).predict_table(table)


def _as_predictions(answers: list[dict[str, Any]], preprocessing: Preprocessing) -> Predictions:
    if isinstance(preprocessing.target, NumberTarget):
        values = np.array([answer["prediction"] for answer in answers])
        return Predictions(preprocessing.target, values)
    every_class = [list(answer["probabilities"].values()) for answer in answers]
    return Predictions(preprocessing.target, np.array(every_class, dtype=np.float32))
