"""A tuning leaves what is deployed alone; replicas come and go with requests."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner

from raymi.cli.main import app
from raymi.serve.rollout.files import served_references
from raymi.serve.tuning.receipt import TuningReceipt
from raymi.settings import settings
from raymi.specs.loading import load_spec
from tests.integration.serving.served_models import (
    Traffic,
    deploy,
    register_model,
    replica_pids,
    session_of,
)

pytestmark = [pytest.mark.ray, pytest.mark.drill, pytest.mark.timeout(600)]


def test_tuning_finds_a_way_to_serve_and_leaves_what_is_deployed_alone(
    client, cluster, deployment, first, monkeypatch, tmp_path
):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", cluster.dashboard_url)
    monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
    before = client.configured(deployment.application)
    space = "{backends: [onnx], precisions: [fp32], max_batch_sizes: [8], max_waits_ms: [0.0], "
    measurement = "{repeats: 1, duration_s: 3, service_rounds: 2, confidence: 0.6}"

    done = CliRunner().invoke(app, [
        "tune-serving", first.reference, "--p99-ms", "500", "--rate", "150", "--json",
        "--set", f"space={space} num_replicas: [1, 9]}}", "--set", f"measurement={measurement}",
        "--output", str(tmp_path / "deploy.yaml"),
    ])  # fmt: skip

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [gate["outcome"] for gate in found["gates"]] == ["reference", "same"]
    assert [one["status"] for one in found["standings"]] == ["met", "met"] + 2 * ["too_large"]
    chosen = load_spec(tmp_path / "deploy.yaml")
    assert chosen.backend in {"eager", "onnx"}  # both are fast enough; which is faster is chance
    assert (chosen.precision, chosen.num_replicas) == ("fp32", 1)
    assert TuningReceipt.verify(Path(found["path"]) / "receipt.json") == ()
    assert client.configured(deployment.application) == before
    assert set(client.status()["applications"]) == {deployment.application}
    assert [path.name for path in (settings().home_dir / "tokens").iterdir()] == ["animals"]


def wait_for_replicas(client, name, count, *, timeout_s):
    """Wait until an application has so many replicas, those that are to go among them."""
    deadline_s = time.monotonic() + timeout_s
    while len(replica_pids(client, name)) != count:
        assert time.monotonic() < deadline_s, client.status()["applications"][name]
        time.sleep(0.2)


def test_replicas_come_with_requests_and_go_without_them(client, cluster, home, deployment):
    scaling = {
        "min_replicas": 0, "max_replicas": 2, "target_ongoing_requests": 0.05,
        "upscale_delay_s": 0.5, "downscale_delay_s": 1.0, "idle_s": 1.0,
    }  # fmt: skip
    name, url = deployment.application, f"{deployment.endpoint}/predict"
    (newest,) = served_references(settings().store_dir)[name]

    deploy(client, cluster, model=newest, scaling={"max_replicas": 2})
    wait_for_replicas(client, name, 1, timeout_s=60)
    before = set(replica_pids(client, name))
    deploy(client, cluster, model=newest, scaling=scaling)
    with Traffic(deployment), Traffic(deployment), Traffic(deployment), Traffic(deployment):
        wait_for_replicas(client, name, 2, timeout_s=60)
        kept = before & set(replica_pids(client, name))
    wait_for_replicas(client, name, 0, timeout_s=90)
    sixth = register_model(home, seed=6)
    deploy(client, cluster, model=sixth.reference, scaling=scaling)
    began_s = time.monotonic()
    answer = session_of(deployment).post(url, json=deployment.example, timeout=120)
    cold_s = time.monotonic() - began_s

    assert cold_s < 60.0
    assert kept == before
    assert (answer.status_code, answer.json()["version"]) == (200, sixth.version)
    assert requests.post(url, json=deployment.example, timeout=120).status_code == 401
