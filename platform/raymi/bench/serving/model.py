"""The model that is served: a perceptron over 784 numbers, registered in a store of its own.

It is not trained. What a pass costs depends on its size, not on its weights.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save_file

from raymi.data.preprocessing import ClassTarget, Preprocessing, TensorFeature
from raymi.evaluate.metrics import accuracy, wilson_interval
from raymi.evaluate.network import EagerNetwork
from raymi.evaluate.predictor import Predictor
from raymi.evaluate.result import Evaluation, Interval
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.registry.bundle import serving_hints, write_bundle
from raymi.registry.signature import InputField, OutputField, Signature
from raymi.registry.stage import summarise
from raymi.registry.store import open_store
from raymi.specs.precision import Precision
from raymi.train.result import Provenance, TrainResult

NAME = "bench"
NUM_INPUTS, NUM_CLASSES = 784, 10
MEAN, STD = 0.5, 0.3

_SEED = 0
_NUM_TEST_ROWS = 1000
_DATASET = {"name": "random numbers with random labels"}


@dataclass(frozen=True, slots=True)
class BenchModel:
    """Where it is."""

    home: Path
    """RAYMI_HOME that has it as `bench@1`."""

    weights: Path
    """Its safetensors file."""

    hidden: tuple[int, ...]
    """Widths of its layers."""


def preprocessing() -> Preprocessing:
    """One image of 784 numbers, ten classes."""
    image = TensorFeature(column="image", shape=(NUM_INPUTS,), mean=MEAN, std=STD)
    classes = ClassTarget(column="label", classes=tuple(range(NUM_CLASSES)))
    return Preprocessing(features=(image,), target=classes)


def make_model(home: Path, hidden: tuple[int, ...]) -> BenchModel:
    """Register the model under a home of its own."""
    home.mkdir(parents=True, exist_ok=True)
    architecture = Architecture(name="mlp", arguments={"hidden": list(hidden)})
    torch.manual_seed(_SEED)
    network = build_model(architecture, preprocessing())
    weights = home / "bench.safetensors"
    save_file(network.state_dict(), weights)
    result = _result(architecture)
    evaluation = _evaluate(network)
    hints = serving_hints(result)
    summary = summarise(result, evaluation, hints)
    with _at_home(home):
        open_store().register(
            NAME,
            summary,
            lambda directory: write_bundle(
                directory,
                result=result,
                evaluation=evaluation,
                signature=_signature(),
                weights=weights,
                hints=hints,
            ),
            by="raymi bench serve",
        )
    return BenchModel(home, weights, hidden)


def random_rows(num_rows: int) -> np.ndarray:
    """Payloads: numbers from 0 to 1 with four digits, (num_rows, 784) float32."""
    draw = np.random.default_rng(_SEED)
    return draw.uniform(0.0, 1.0, (num_rows, NUM_INPUTS)).round(4).astype(np.float32)


def _signature() -> Signature:
    image = InputField(
        name="image",
        datatype="FP32",
        shape=(NUM_INPUTS,),
        nullable=False,
        kind="tensor",
        example=[MEAN] * NUM_INPUTS,
    )
    classes = tuple(range(NUM_CLASSES))
    label = OutputField(name="label", datatype="INT64", shape=(), classes=classes)
    probabilities = OutputField(
        name="probabilities", datatype="FP32", shape=(NUM_CLASSES,), classes=classes
    )
    return Signature(inputs=(image,), outputs=(label, probabilities))


def _evaluate(network: torch.nn.Module) -> Evaluation:
    """Its accuracy on labels drawn at random: about one in ten."""
    rows = random_rows(_NUM_TEST_ROWS)
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), NUM_INPUTS)
    network_in_use = EagerNetwork(network, precision=Precision.FP32, device=torch.device("cpu"))
    predictor = Predictor(network_in_use, preprocessing())
    predicted = predictor.predict_table(pa.table({"image": column})).indices
    labels = np.random.default_rng(_SEED + 1).integers(0, NUM_CLASSES, _NUM_TEST_ROWS)
    low, high = wilson_interval(int((predicted == labels).sum()), _NUM_TEST_ROWS)
    return Evaluation(
        run_id=NAME,
        dataset=_DATASET,
        num_rows=_NUM_TEST_ROWS,
        metrics={"accuracy": accuracy(predicted, labels)},
        primary_metric="accuracy",
        interval=Interval(low=low, high=high, method="wilson"),
        slices=(),
        predictions_file="",
    )


def _result(architecture: Architecture) -> TrainResult:
    return TrainResult(
        run_id=NAME,
        run_dir="",
        spec={
            "kind": "train",
            "name": NAME,
            "problem": "raymi.bench.serving.model",
            "data": {"name": NAME},
            "batch": {"global_batch_size": 256, "micro_batch_size": 256},
        },
        spec_fingerprint="0" * 64,
        dataset=_DATASET,
        problem="raymi.bench.serving.model",
        architecture=architecture,
        preprocessing=preprocessing(),
        metrics={},
        primary_metric="accuracy",
        samples_per_s=0.0,
        peak_memory_gib=0.0,
        duration_s=0.0,
        attempts=0,
        provenance=Provenance(
            git_commit=None,
            code_package=None,
            environment={},
            hardware={},
            started_at=datetime.now(UTC),
        ),
    )


@contextmanager
def _at_home(home: Path) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ("RAYMI_HOME", "RAYMI_STORE")}
    os.environ["RAYMI_HOME"] = str(home)
    os.environ.pop("RAYMI_STORE", None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
