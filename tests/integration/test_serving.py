"""A registered model answers over HTTP exactly as it does in this process, and outlives garbage."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import requests
import torch
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from safetensors.torch import save_file
from urllib3.util import Retry

from raymi.control.head_environment import serving_environment
from raymi.data.preprocessing import ClassTarget, NumberFeature, Preprocessing, TensorFeature
from raymi.errors import ConflictError, DeploymentError, IntegrityError, NotFoundError
from raymi.evaluate.result import Evaluation, Interval
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.registry.bundle import load_bundle, serving_hints, write_bundle
from raymi.registry.signature import InputField, OutputField, Signature
from raymi.registry.store import open_store
from raymi.registry.version import ModelSummary
from raymi.serve import stage
from raymi.serve.applications import ServeClient
from raymi.serve.listing import deployed_applications
from raymi.serve.rollout.control import RolloutControl, Share
from raymi.serve.rollout.files import RolloutFiles, served_references
from raymi.serve.tokens import bearer
from raymi.settings import settings
from raymi.specs.deploy import DeploySpec
from raymi.train.result import Provenance, TrainResult
from tests.integration.conftest import free_ports, running_head

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

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


def register_model(directory, *, seed):
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
        "animals",
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


def session_of(deployment, *, retries=0):
    """A client that carries the token, and may ask again where a connection broke."""
    session = requests.Session()
    session.trust_env = False
    again = Retry(connect=retries, read=retries, status=0, allowed_methods=None)
    session.mount("http://", HTTPAdapter(max_retries=again))
    session.headers.update(bearer(Path(deployment.token_path)))
    return session


class Traffic:
    """A client that asks again and again while the block runs."""

    def __init__(self, deployment, *, retries=0):
        self.statuses = []
        self._deployment = deployment
        self._session = session_of(deployment, retries=retries)
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


@pytest.fixture(scope="module")
def cluster(home, repository, token):
    """A head that serves as Raymi's own do, with HAProxy in front."""
    directory = Path(tempfile.mkdtemp(prefix="raymi-", dir="/tmp"))  # sockets want short paths
    stats_port, metrics_port = free_ports(2)
    variables = serving_environment(
        directory,
        stats_port=stats_port,
        grpc_port=free_ports(1)[0],
        metrics_port=metrics_port,
        python=Path(sys.executable),
    )
    with running_head(repository, token, num_cpus=2, variables=variables) as head:
        yield head
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def client(cluster):
    return ServeClient(cluster.dashboard_url, SecretStr(cluster.token))


@pytest.fixture(scope="module")
def first(home):
    version = register_model(home, seed=1)
    return open_store().promote("animals", version.version, by="tests", reason="first")


@pytest.fixture(scope="module")
def deployment(client, cluster, first):
    return deploy(client, cluster, model="animals@champion")


def test_predictions_over_http_are_those_of_the_bundle(deployment, first):
    rows = some_rows(40)

    answer = (
        session_of(deployment)
        .post(
            f"{deployment.endpoint}/predict", json={"rows": rows, "probabilities": True}, timeout=30
        )
        .json()
    )

    found = [list(p["probabilities"].values()) for p in answer["predictions"]]
    expected = expected_probabilities(first, rows)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert [p["label"] for p in answer["predictions"]] == [
        CLASSES[index] for index in expected.argmax(axis=1)
    ]


def test_the_inference_protocol_gives_the_same_answers(deployment, first):
    rows = some_rows(5)
    body = {
        "inputs": [
            {"name": "pixels", "shape": [5, 4, 4], "datatype": "UINT8",
             "data": [row["pixels"] for row in rows]},
            {"name": "weight", "shape": [5], "datatype": "FP64",
             "data": [row["weight"] for row in rows]},
        ]
    }  # fmt: skip

    url = f"{deployment.endpoint}/v2/models/animals/infer"
    outputs = session_of(deployment).post(url, json=body, timeout=30).json()["outputs"]

    found = np.reshape(outputs[1]["data"], outputs[1]["shape"])
    np.testing.assert_allclose(found, expected_probabilities(first, rows), rtol=1e-5, atol=1e-7)


def test_what_answers_is_the_version_that_was_resolved(deployment, first):
    metadata = (
        session_of(deployment).get(f"{deployment.endpoint}/v2/models/animals", timeout=30).json()
    )

    assert (metadata["version"], metadata["fingerprint"]) == (first.version, first.fingerprint)
    assert metadata["max_batch_size"] == deployment.max_batch_size == 16
    assert (
        session_of(deployment).get(f"{deployment.endpoint}/v2/health/ready", timeout=30).status_code
        == 200
    )


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        (b"{", 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"rows": [{"pixels": [1, 2]}]}', 422, "rows[0].pixels"),
        (b'{"rows": [{"pixels": %s}]}' % str([[300] * 4] * 4).encode(), 422, "rows[0].pixels"),
        (b'{"rows": [{"pixels": %s, "weight": NaN}]}' % str([[1] * 4] * 4).encode(), 422,
         "rows[0].weight"),
        (b'{"rows": [%s{}]}' % (b"{}," * 20_000), 413, "rows"),
        (b" " * (17 * 1024 * 1024), 413, None),
    ],
    ids=["not-json", "too-deep", "wrong-shape", "out-of-range", "nan", "rows", "bytes"],
)  # fmt: skip
def test_garbage_is_refused_by_name_and_the_replica_lives_on(
    client, deployment, body, status, named
):
    before = replica_pids(client, deployment.application)

    refusal = session_of(deployment).post(f"{deployment.endpoint}/predict", data=body, timeout=60)

    good = session_of(deployment).post(
        f"{deployment.endpoint}/predict", json=deployment.example, timeout=30
    )
    assert (refusal.status_code, refusal.json().get("field")) == (status, named)
    assert good.status_code == 200
    assert replica_pids(client, deployment.application) == before


def test_a_damaged_bundle_is_refused_before_anything_is_sent(client, cluster, home, deployment):
    second = damage(register_model(home, seed=2))
    before = client.status()["applications"]

    with pytest.raises(IntegrityError, match="damaged"):
        deploy(client, cluster, model=second.reference)

    assert client.status()["applications"] == before


def control_of(client, deployment):
    files = RolloutFiles(settings().store_dir, deployment.application)
    return RolloutControl(files, lambda: client.replicas(deployment.application))


def test_without_its_token_nobody_is_answered(deployment):
    url = f"{deployment.endpoint}/predict"

    assert requests.post(url, json=deployment.example, timeout=30).status_code == 401


def test_a_version_that_is_damaged_after_it_was_looked_at_never_answers(
    client, cluster, deployment, home, first, monkeypatch
):
    third = register_model(home, seed=3)
    monkeypatch.setattr(stage, "load_bundle", lambda path, **_: load_bundle(damage_after(path)))

    def damage_after(path):
        copy = home / "copy"
        shutil.copytree(path, copy, dirs_exist_ok=True)
        damage(third)
        return copy

    with Traffic(deployment) as traffic, pytest.raises(DeploymentError, match="sha256"):
        deploy(client, cluster, model=third.reference)

    answer = session_of(deployment).post(
        f"{deployment.endpoint}/predict", json=deployment.example, timeout=30
    )
    assert answer.json()["version"] == first.version
    assert set(traffic.statuses) == {200}


def test_deployments_and_rollbacks_fail_no_request(client, cluster, home, deployment, first):
    fourth = register_model(home, seed=4)
    before = replica_pids(client, deployment.application)
    control = control_of(client, deployment)
    versions = []

    with Traffic(deployment) as traffic:
        for _ in range(3):
            deploy(client, cluster, model=fourth.reference)
            versions.append(served_references(settings().store_dir)["animals"])
            began_s = time.monotonic()
            control.roll_back("a test")
            took_s = time.monotonic() - began_s
            answer = session_of(deployment).post(
                f"{deployment.endpoint}/predict", json=deployment.example, timeout=30
            )
            versions.append(answer.json()["version"])

    assert versions == [fourth.reference, first.version] * 3
    assert took_s < 1.0
    assert len(traffic.statuses) > 10
    assert set(traffic.statuses) == {200}
    assert replica_pids(client, deployment.application) == before


def test_a_canary_answers_its_share_and_is_compared(client, cluster, home, deployment):
    fifth = register_model(home, seed=5)
    deploy(client, cluster, model=fifth.reference, canary=50.0)
    session, url = session_of(deployment), f"{deployment.endpoint}/predict"

    said = [
        session.post(url, json=deployment.example, timeout=30).json()["version"] for _ in range(60)
    ]

    control = control_of(client, deployment)
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        (report,) = control.reports().values()
        if report.comparison.of_trial.requests >= said.count(fifth.version):
            break
        time.sleep(0.2)
    control.roll_back("seen enough")
    assert 5 < said.count(fifth.version) < 55
    assert report.comparison.of_trial.requests == said.count(fifth.version)
    assert report.comparison.compared_rows > 0


def test_a_replica_that_is_killed_is_replaced_and_nobody_notices(client, deployment):
    (victim,) = replica_pids(client, deployment.application)

    # HAProxy hides the death; that it is started anew for it may break a connection.
    with Traffic(deployment, retries=2) as traffic:
        os.kill(victim, signal.SIGKILL)
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            pids = replica_pids(client, deployment.application)
            if pids and victim not in pids:
                break
            time.sleep(0.2)
        session_of(deployment, retries=2).post(
            f"{deployment.endpoint}/predict", json=deployment.example, timeout=60
        ).raise_for_status()

    assert victim not in replica_pids(client, deployment.application)
    assert set(traffic.statuses) == {200}


def test_a_reference_to_nothing_changes_nothing(client, cluster, deployment):
    before = deployed_applications(client.status(), {})

    with pytest.raises(NotFoundError):
        deploy(client, cluster, model="animals@99")

    assert deployed_applications(client.status(), {}) == before


def test_a_second_application_needs_its_own_route(client, cluster, deployment):
    with pytest.raises(ConflictError, match="animals"):
        deploy(client, cluster, model="animals@1", name="other")


def test_what_is_taken_away_is_gone(client, cluster, deployment):
    client.remove(deployment.application)
    client.wait_until_gone(deployment.application, timeout_s=60)

    assert deployed_applications(client.status(), {}) == ()
