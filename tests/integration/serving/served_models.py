"""Models to serve, and clients to ask them: what the tests of serving are made of."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import requests
import torch
from safetensors.torch import save_file

from raymi.data.preprocessing import ClassTarget, NumberFeature, Preprocessing, TensorFeature
from raymi.evaluate.result import Evaluation, Interval
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.registry.bundle import load_bundle, serving_hints, write_bundle
from raymi.registry.signature import InputField, OutputField, Signature
from raymi.registry.store import open_store
from raymi.registry.version import ModelSummary
from raymi.serve import stage
from raymi.serve.rollout.control import RolloutControl, Share
from raymi.serve.rollout.files import RolloutFiles
from raymi.serve.tokens import bearer
from raymi.settings import settings
from raymi.specs.deploy import DeploySpec
from raymi.train.result import Provenance, TrainResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLASSES = ("cat", "dog", "owl")
ARCHITECTURE = Architecture(name="mlp", arguments={"hidden": [16]})
PREPROCESSING = Preprocessing(
    features=(
        TensorFeature(column="pixels", shape=(4, 4), mean=120.0, std=70.0),
        NumberFeature(column="weight", mean=2.0, std=1.0, quantiles=(0.0, 2.0, 4.0), nullable=True),
    ),
    target=ClassTarget(column="animal", classes=CLASSES),
)
SIGNATURE = Signature(
    inputs=(
        InputField(
            name="pixels", datatype="UINT8", shape=(4, 4), nullable=False, kind="tensor",
            example=[[120] * 4] * 4,
        ),
        InputField(
            name="weight", datatype="FP64", shape=(), nullable=True, kind="number", example=2.0
        ),
    ),
    outputs=(
        OutputField(name="label", datatype="BYTES", shape=(), classes=CLASSES),
        OutputField(name="probabilities", datatype="FP32", shape=(3,), classes=CLASSES),
    ),
)  # fmt: skip


def register_model(directory, *, seed, name="animals"):
    """Register an untrained network: what it says is arbitrary, and always the same."""
    torch.manual_seed(seed)
    model = build_model(ARCHITECTURE, PREPROCESSING)
    weights = directory / f"{seed}.safetensors"
    save_file(model.state_dict(), weights)
    evaluation = Evaluation(
        run_id=f"run-{seed}",
        dataset={"name": "animals"},
        num_rows=100,
        metrics={"accuracy": 0.9},
        primary_metric="accuracy",
        interval=Interval(low=0.8, high=0.95, method="wilson"),
        slices=(),
        predictions_file="test-predictions.parquet",
    )
    result = train_result(seed)
    summary = ModelSummary(
        run_id=result.run_id,
        metrics=evaluation.metrics,
        primary_metric="accuracy",
        interval=evaluation.interval,
        precision="fp32",
        micro_batch_size=16,
        dataset=result.dataset,
    )
    return open_store().register(
        name,
        summary,
        lambda destination: write_bundle(
            destination,
            result=result,
            evaluation=evaluation,
            signature=SIGNATURE,
            weights=weights,
            hints=serving_hints(result),
        ),
        by="tests",
    )


def train_result(seed):
    spec = {
        "kind": "train",
        "name": "animals",
        "problem": "jobs.animals.problem",
        "data": {"name": "animals"},
        "batch": {"global_batch_size": 16, "micro_batch_size": 16},
    }
    provenance = Provenance(
        git_commit=None, code_package=None, environment={}, hardware={}, started_at=NOW
    )
    return TrainResult(
        run_id=f"run-{seed}",
        run_dir="/nowhere",
        spec=spec,
        spec_fingerprint="0" * 64,
        dataset={"name": "animals"},
        problem="jobs.animals.problem",
        architecture=ARCHITECTURE,
        preprocessing=PREPROCESSING,
        metrics={"accuracy": 0.9},
        primary_metric="accuracy",
        samples_per_s=1.0,
        peak_memory_gib=0.1,
        duration_s=1.0,
        attempts=1,
        provenance=provenance,
    )


def deploy(client, cluster, **fields):
    share = Share(canary_percent=fields.pop("canary", 0.0))
    return stage.run(
        DeploySpec.from_document(fields),
        share=share,
        client=client,
        store=open_store(),
        http_options={"host": "127.0.0.1", "port": cluster.serve_port},
    )


def some_rows(num_rows):
    draw = np.random.default_rng(3)
    return [
        {
            "pixels": draw.integers(0, 256, (4, 4)).tolist(),
            "weight": None if row % 4 == 0 else float(draw.normal(2.0)),
        }
        for row in range(num_rows)
    ]


def expected_probabilities(version, rows):
    pixels = np.array([row["pixels"] for row in rows], dtype=np.uint8)
    table = pa.table(
        {
            "pixels": pa.FixedSizeListArray.from_arrays(pixels.ravel(), 16),
            "weight": pa.array([row["weight"] for row in rows], pa.float64()),
        }
    )
    return load_bundle(Path(version.path)).predictor().predict_table(table).probabilities


def damage(version):
    """Flip the last byte of a bundle's weights."""
    weights = Path(version.path) / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return version


def session_of(deployment):
    """A client that carries the token and asks once."""
    session = requests.Session()
    session.trust_env = False
    session.headers.update(bearer(Path(deployment.token_path)))
    return session


class Traffic:
    """A client that asks again and again while the block runs."""

    def __init__(self, deployment):
        self.statuses = []
        self._deployment = deployment
        self._session = session_of(deployment)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()

    def _ask(self):
        url = f"{self._deployment.endpoint}/predict"
        while not self._stopped.wait(0.02):
            self.statuses.append(
                self._session.post(url, json=self._deployment.example, timeout=30).status_code
            )


def replica_pids(client, name):
    deployment = client.status()["applications"][name]["deployments"]["ModelServer"]
    return [replica["pid"] for replica in deployment["replicas"] if replica.get("pid")]


def control_of(client, deployment, *, further=None):
    files = RolloutFiles(settings().store_dir, deployment.application, further=further)
    return RolloutControl(files, lambda: client.replicas(deployment.application))
