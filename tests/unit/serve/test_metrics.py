"""What is counted is what Prometheus reads, of every replica and version."""

from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from raymi.serve.api import build_api
from raymi.serve.guard import Access, Guard
from raymi.serve.identity import RequestLimits
from raymi.serve.metrics import ReplicaMetrics, RequestMetrics, exposition
from tests.unit.serve.one_version import OneVersion


def samples(text):
    """Every sample by its name and labels, as Prometheus itself parses them."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found, name, **labels):
    return found[(name, *sorted({"application": "digits", "model": "digits", **labels}.items()))]


def counted():
    metrics = RequestMetrics()
    for seconds in (0.0004, 0.0015, 0.0015, 99.0):
        metrics.answered("/predict", "3", 200, seconds)
    metrics.answered("/predict", "", 401, 0.001)
    return metrics.snapshot({"3": Counter({1: 5, 64: 2, 5000: 1})}, queue_rows=7)


@pytest.fixture
def found():
    replicas = [
        ReplicaMetrics(model="digits", replica=name, active_version=3, snapshot=counted())
        for name in ("a", "b")
    ]
    return samples(exposition("digits", replicas).decode())


def test_answers_are_told_by_replica_version_path_and_status(found):
    labels = {"replica": "b", "path": "/predict"}

    assert value(found, "raymi_requests_total", version="3", status="200", **labels) == 4
    assert value(found, "raymi_requests_total", version="", status="401", **labels) == 1


def test_a_histogram_adds_up(found):
    here = {"replica": "a", "version": "3"}

    assert value(found, "raymi_request_seconds_bucket", le="0.0005", **here) == 1
    assert value(found, "raymi_request_seconds_bucket", le="0.002", **here) == 3
    assert value(found, "raymi_request_seconds_bucket", le="10.0", **here) == 3
    assert value(found, "raymi_request_seconds_bucket", le="+Inf", **here) == 4
    assert value(found, "raymi_request_seconds_count", **here) == 4
    assert value(found, "raymi_request_seconds_sum", **here) == pytest.approx(99.0034)


def test_batches_are_counted_by_their_rows(found):
    here = {"replica": "a", "version": "3"}

    assert value(found, "raymi_batch_rows_bucket", le="1.0", **here) == 5
    assert value(found, "raymi_batch_rows_bucket", le="64.0", **here) == 7
    assert value(found, "raymi_batch_rows_count", **here) == 8
    assert value(found, "raymi_batch_rows_sum", **here) == 5 + 128 + 5000


def test_the_queue_and_the_version_that_answers_are_told(found):
    assert value(found, "raymi_queue_rows", replica="a") == 7
    assert value(found, "raymi_active_version", replica="a") == 3


def test_the_endpoint_counts_what_it_answers(host, good_row):
    metrics = RequestMetrics()

    async def expose():
        snapshot = metrics.snapshot({}, queue_rows=0)
        replica = ReplicaMetrics(model="digits", replica="a", active_version=4, snapshot=snapshot)
        return exposition("digits", [replica])

    limits = RequestLimits(max_request_bytes=10_000, max_rows=20)
    api = build_api(
        OneVersion(host), limits, Guard(Access()), observe=metrics.answered, exposition=expose
    )
    client = TestClient(api)
    client.post("/predict", json={"rows": [good_row]})
    client.post("/predict", content=b"{")
    client.get("/v2")

    text = client.get("/metrics").text

    here = {"replica": "a"}
    found = samples(text)
    answers = "raymi_requests_total"
    assert value(found, answers, version="4", path="/predict", status="200", **here) == 1
    assert value(found, answers, version="", path="/predict", status="400", **here) == 1
    assert value(found, answers, version="", path="other", status="200", model="", **here) == 1
