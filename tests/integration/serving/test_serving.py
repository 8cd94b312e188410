"""A registered model answers over HTTP exactly as it does in this process, and outlives garbage."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import requests

from raymi.errors import ConflictError, DeploymentError, IntegrityError, NotFoundError
from raymi.registry.bundle import load_bundle
from raymi.serve import stage
from raymi.serve.grpc import open_inference_pb2 as pb
from raymi.serve.grpc.open_inference_pb2_grpc import GRPCInferenceServiceStub
from raymi.serve.grpc.ports import grpc_port_beside
from raymi.serve.listing import deployed_applications
from raymi.serve.rollout.files import served_references
from raymi.serve.tokens import bearer
from raymi.settings import settings
from tests.integration.serving.served_models import (
    CLASSES,
    Traffic,
    control_of,
    damage,
    deploy,
    expected_probabilities,
    register_model,
    replica_pids,
    session_of,
    some_rows,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


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


@pytest.fixture
def over_grpc(client, cluster, deployment):
    """A channel to where the deployment answers over gRPC, and what a call there carries."""
    port = int(cluster.environment["RAYMI_GRPC_PORT"])
    endpoint = stage.over_grpc(deployment, client=client, port=port).grpc_endpoint
    said = bearer(Path(deployment.token_path))["authorization"]
    with grpc.insecure_channel(endpoint) as channel:
        yield channel, {"metadata": (("authorization", said),), "timeout": 30}


def test_every_call_of_the_protocol_is_answered_over_grpc(over_grpc, deployment, first):
    channel, options = over_grpc
    stub, rows = GRPCInferenceServiceStub(channel), some_rows(5)
    pixels = np.array([row["pixels"] for row in rows], dtype=np.uint8)
    request = pb.ModelInferRequest(model_name="animals", raw_input_contents=[pixels.tobytes()])
    request.inputs.add(name="pixels", datatype="UINT8", shape=[5, 4, 4])

    answer = stub.ModelInfer(request, **options)

    probabilities = np.frombuffer(answer.raw_output_contents[1], "<f4").reshape(5, 3)
    expected = expected_probabilities(first, [{**row, "weight": None} for row in rows])
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-7)
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=30).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=30).ready
    assert stub.ServerMetadata(pb.ServerMetadataRequest(), **options).name == "raymi"
    assert stub.ModelReady(pb.ModelReadyRequest(name="animals"), **options).ready
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="animals"), **options)
    assert list(metadata.versions) == [str(first.version)]


def test_grpc_refuses_in_its_own_codes_and_the_replica_lives_on(over_grpc, client, deployment):
    channel, options = over_grpc
    before = replica_pids(client, deployment.application)
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    elsewhere = {**options, "metadata": (*options["metadata"], ("application", "other"))}

    def code_for(body, said=options):
        with pytest.raises(grpc.RpcError) as refusal:
            call(body, **said)
        return refusal.value.code()

    assert code_for(b"\xff" * 1000) == grpc.StatusCode.INVALID_ARGUMENT
    assert code_for(b"\0" * 17 * 1024 * 1024) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert code_for(b"\0" * 17 * 1024 * 1024, {}) == grpc.StatusCode.UNAUTHENTICATED
    assert code_for(b"", elsewhere) == grpc.StatusCode.NOT_FOUND
    assert code_for(b"") == grpc.StatusCode.NOT_FOUND
    assert replica_pids(client, deployment.application) == before


def test_grpc_listens_on_the_loopback_interface_only(over_grpc, client, deployment):
    (pid,) = replica_pids(client, deployment.application)
    listening = {
        connection.laddr.port: connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.Process(pid).net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }

    (grpc_port,) = {grpc_port_beside(port) for port in listening} & set(listening)
    assert listening[grpc_port] == "127.0.0.1"


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
            versions.append(served_references(settings().store_dir)["animals"][0])
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


def test_another_backend_is_rolled_out_and_back_as_a_version_is(client, cluster, deployment, first):
    before = replica_pids(client, deployment.application)
    url = f"{deployment.endpoint}/v2/models/animals"

    with Traffic(deployment) as traffic:
        deploy(client, cluster, model=first.reference, backend="onnx")
        answers = session_of(deployment).get(url, timeout=30).json()
        control_of(client, deployment).roll_back("a test")

    assert (answers["version"], answers["backend"]) == (first.version, "onnx")
    assert session_of(deployment).get(url, timeout=30).json()["backend"] == "eager"
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


def one_that_says_something_else(home, deployment):
    """Another version, whose label for the example is not what is answered now."""
    rows = deployment.example["rows"]
    answers = session_of(deployment).post(
        f"{deployment.endpoint}/predict", json={"rows": rows}, timeout=30
    )
    said = answers.json()["predictions"][0]["label"]
    for seed in range(50, 80):
        version = register_model(home, seed=seed)
        if CLASSES[expected_probabilities(version, rows)[0].argmax()] != said:
            return version
    pytest.fail("thirty networks say the same")


def test_a_bad_version_is_taken_back_by_itself_and_no_request_fails(
    client, cluster, home, deployment
):
    bad = one_that_says_something_else(home, deployment)
    rules = {"min_requests": 10, "p99_slack_ms": 10_000.0}  # of so few, the slowest says nothing
    control = control_of(client, deployment)
    before = control.current().active

    with Traffic(deployment) as traffic:
        deploy(client, cluster, model=bad.reference, canary=50.0, rollback=rules)
        deadline_s = time.monotonic() + 30
        while control.current().candidate is not None:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)

    assert control.current().active == before
    assert f"{bad.reference}: agrees with" in control.current().reason
    assert set(traffic.statuses) == {200}


def test_a_replica_that_is_killed_is_replaced_and_nobody_notices(client, deployment):
    (victim,) = replica_pids(client, deployment.application)

    with Traffic(deployment) as traffic:
        os.kill(victim, signal.SIGKILL)
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            pids = replica_pids(client, deployment.application)
            if pids and victim not in pids:
                break
            time.sleep(0.2)
        session_of(deployment).post(
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


def test_models_share_a_replica_and_a_broken_version_of_one_leaves_the_other(client, cluster, home):
    register_model(home, seed=1, name="birds")
    before = deploy(client, cluster, model="animals@1", also=["birds@1"])
    pids, (second, third) = (
        replica_pids(client, "animals"),
        [register_model(home, seed=seed, name="birds") for seed in (6, 7)],
    )
    session, rows = session_of(before), {"rows": some_rows(3)}

    def said(path):
        answer = session.post(f"{before.endpoint}{path}", json=rows, timeout=30).json()
        return answer["model"], answer["version"]

    deploy(client, cluster, model="animals@1", also=[second.reference])
    after_rollout = [said("/predict"), said("/predict/birds")]
    control_of(client, before, further="birds").roll_back("a test")
    with pytest.raises(IntegrityError):
        deploy(client, cluster, model="animals@1", also=[damage(third).reference])

    assert after_rollout == [("animals", 1), ("birds", second.version)]
    assert [said("/predict/animals"), said("/predict/birds")] == [("animals", 1), ("birds", 1)]
    assert replica_pids(client, "animals") == pids
    listed = deployed_applications(client.status(), served_references(settings().store_dir))
    assert [(a.model, a.also) for a in listed] == [("animals@1", ("birds@1",))]
