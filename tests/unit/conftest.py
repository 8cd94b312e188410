"""A finished run without Ray: a small dataset, a network's first weights, what training leaves."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from raymi.data import stage as data_stage
from raymi.data.fitting import fit_preprocessing
from raymi.data.preprocessing import Preprocessing
from raymi.data.version import DatasetVersion
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.specs.data import DataSpec
from raymi.specs.train import TrainSpec
from raymi.train.result import Provenance, TrainResult

# Small networks gain nothing from threads, and lose much on a busy machine.
torch.set_num_threads(1)

NUM_ROWS = 240


@dataclass(frozen=True)
class FinishedRun:
    """Where things are and what training returned."""

    store_dir: Path
    dataset: DatasetVersion
    result: TrainResult


MakeRun = Callable[..., FinishedRun]


def rows() -> pa.Table:
    """A number, a name with gaps, a 2 x 2 image, a sentence; a class and a number to predict."""
    draw = np.random.default_rng(0)
    size = draw.normal(10.0, 3.0, NUM_ROWS)
    colours = ["red", "green", None, "blue"]
    pixels = draw.integers(0, 256, (NUM_ROWS, 2, 2), dtype=np.uint8)
    return pa.table(
        {
            "size": size,
            "colour": [colours[i % 4] for i in range(NUM_ROWS)],
            "pixels": pa.array(pixels.tolist(), pa.list_(pa.list_(pa.uint8(), 2), 2)),
            "note": [f"this is row {i} of many" for i in range(NUM_ROWS)],
            "shape": ["round" if s > 10 else "square" for s in size],
            "price": 3.0 * size + draw.normal(0.0, 1.0, NUM_ROWS),
        }
    )


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Make a run in a store of its own.

    Target `shape` is classification, `price` regression, `note` is continued byte by byte.
    """

    def make(
        target: str = "shape",
        *,
        run_id: str = "run-1",
        architecture: Architecture | None = None,
        precision: str = "fp32",
        test_share: float = 0.2,
    ) -> FinishedRun:
        root = tmp_path_factory.mktemp("run")
        data = describe_rows(root, target, test_share)
        store_dir = root / "store"
        dataset = data_stage.run(DataSpec.from_document(data), store_dir=store_dir)
        preprocessing, usual = what_is_learned(dataset, target)
        run_dir = store_dir / "runs" / run_id
        save_first_weights(run_dir, architecture or usual, preprocessing)
        spec = TrainSpec.from_document(
            {
                "kind": "train",
                "name": "things",
                "problem": "jobs.things.problem",
                "data": data,
                "precision": precision,
                "batch": {"global_batch_size": 32, "micro_batch_size": 16},
            }
        )
        result = TrainResult(
            run_id=run_id,
            run_dir=str(run_dir),
            spec=spec.to_document(),
            spec_fingerprint=spec.fingerprint(),
            dataset=dataset.summary(),
            problem=spec.problem,
            architecture=architecture or usual,
            preprocessing=preprocessing,
            metrics={"loss": 0.7},
            primary_metric={"shape": "accuracy", "price": "rmse", "note": "loss"}[target],
            samples_per_s=100.0,
            peak_memory_gib=0.1,
            duration_s=1.0,
            attempts=1,
            provenance=made_up_provenance(),
        )
        return FinishedRun(store_dir=store_dir, dataset=dataset, result=result)

    return make


def describe_rows(root: Path, target: str, test_share: float) -> dict[str, Any]:
    """Write the rows, and the data spec that reads them."""
    pq.write_table(rows(), root / "rows.parquet")
    return {
        "name": "things",
        "root": str(root),
        "sources": [{"path": "rows.parquet"}],
        "target": target,
        "split": {"test": test_share},
    }


def what_is_learned(dataset: DatasetVersion, target: str) -> tuple[Preprocessing, Architecture]:
    """How the rows become numbers, and a small network for them."""
    if target == "note":
        preprocessing = fit_preprocessing(dataset, task="next_byte", context=24)
        return preprocessing, Architecture(name="gpt", arguments={"width": 16, "num_layers": 1})
    ignored = ("price",) if target == "shape" else ("shape",)
    preprocessing = fit_preprocessing(dataset, ignore=ignored, texts=("note",))
    return preprocessing, Architecture(name="mlp", arguments={"hidden": [8]})


def save_first_weights(
    run_dir: Path, architecture: Architecture, preprocessing: Preprocessing
) -> None:
    """As if training had changed nothing."""
    run_dir.mkdir(parents=True)
    torch.manual_seed(0)
    weights = build_model(architecture, preprocessing).state_dict()
    save_file(weights, run_dir / "model.safetensors")


def made_up_provenance() -> Provenance:
    return Provenance(
        git_commit="0" * 40,
        code_package=None,
        environment={"python": "3.11.0", "torch": torch.__version__},
        hardware={"accelerator": "cpu", "num_cpus": 2},
        started_at=datetime.now(UTC),
    )


@pytest.fixture(scope="session")
def classifier_run(make_run: MakeRun) -> FinishedRun:
    """A run that tells two classes apart; tests must not change its files."""
    return make_run("shape", precision="bf16")


@pytest.fixture(scope="session")
def regression_run(make_run: MakeRun) -> FinishedRun:
    """A run that predicts a number; tests must not change its files."""
    return make_run("price")


@pytest.fixture(scope="session")
def text_run(make_run: MakeRun) -> FinishedRun:
    """A run that continues a text; tests must not change its files."""
    return make_run("note")
