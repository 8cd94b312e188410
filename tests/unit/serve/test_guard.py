"""An endpoint lets in who has a token, and not more often than it may."""

import asyncio
import json
import logging

import pytest
from starlette.testclient import TestClient

from raymi.errors import LimitedError, OverloadedError, RequestError
from raymi.serve.endpoints import PredictionEndpoints
from raymi.serve.guard import Access, Guard, fingerprint
from raymi.serve.identity import RequestLimits
from tests.unit.serve.conftest import api_of
from tests.unit.serve.one_version import OneVersion

TOKEN = "s3same"  # noqa: S105 - a test's
WITH_TOKEN = Access(token_sha256=(fingerprint("another"), fingerprint(TOKEN)))


@pytest.fixture
def guarded(host):
    return TestClient(api_of(host, WITH_TOKEN), raise_server_exceptions=False)


@pytest.mark.parametrize(
    "header",
    [None, "", "s3same", "Basic s3same", "Bearer", "Bearer s3sam", "Bearer s3same2", "x" * 9999],
)
def test_without_an_accepted_token_there_is_no_answer(guarded, good_row, header):
    headers = {} if header is None else {"authorization": header}

    answer = guarded.post("/predict", json={"rows": [good_row]}, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "s3same" not in answer.text


@pytest.mark.parametrize("header", ["Bearer s3same", "bearer s3same", "Bearer another"])
def test_with_one_there_is(guarded, good_row, header):
    headers = {"authorization": header}

    answer = guarded.post("/predict", json={"rows": [good_row]}, headers=headers)

    assert answer.status_code == 200


def test_probes_need_no_token_and_everything_else_does(guarded):
    open_paths = ["/v2/health/live", "/v2/health/ready"]
    closed_paths = ["/v2", "/v2/models/shapes", "/openapi.json", "/nothing"]

    assert {guarded.get(path).status_code for path in open_paths} == {200}
    assert {guarded.get(path).status_code for path in closed_paths} == {401}


def test_beyond_its_rate_a_caller_is_told_when_to_come_back():
    time_s = [0.0]
    guard = Guard(Access(requests_per_s=2.0, burst=3), now_s=lambda: time_s[0])

    def let_in(count):
        for _ in range(count):
            guard.admit({})

    let_in(3)
    with pytest.raises(LimitedError) as refusal:
        let_in(1)
    time_s[0] = 1.0
    let_in(2)
    with pytest.raises(LimitedError):
        let_in(1)

    assert (refusal.value.http_status, refusal.value.retry_after_s) == (429, 1)


def test_after_a_long_pause_no_more_than_a_burst_comes_at_once():
    time_s = [0.0]
    guard = Guard(Access(requests_per_s=100.0, burst=2), now_s=lambda: time_s[0])
    time_s[0] = 1e6

    guard.admit({})
    guard.admit({})

    with pytest.raises(LimitedError):
        guard.admit({})


def test_the_wire_says_429_and_when(host, good_row):
    client = TestClient(api_of(host, Access(requests_per_s=0.1, burst=1)))
    client.post("/predict", json={"rows": [good_row]})

    answer = client.post("/predict", json={"rows": [good_row]})

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")


def test_a_token_is_asked_for_before_a_rate_is_used_up():
    guard = Guard(Access(token_sha256=(fingerprint(TOKEN),), requests_per_s=1.0, burst=1))

    for _ in range(5):
        with pytest.raises(RequestError):
            guard.admit({})

    guard.admit({b"authorization": b"Bearer s3same"})


def test_every_answer_has_a_request_id_and_keeps_the_callers(client, good_row):
    body = {"rows": [good_row]}
    named = client.post("/predict", json=body, headers={"x-request-id": "mine"})
    made_up = [client.post("/predict", json=body).headers["x-request-id"] for _ in range(3)]
    page = client.get("/v2", headers={"x-request-id": "page"})

    assert named.headers["x-request-id"] == "mine"
    assert len(set(made_up)) == 3
    assert page.headers["x-request-id"] == "page"


def test_a_fault_is_logged_by_its_place_and_without_what_was_sent(client, host, caplog, good_row):
    host.fails = True

    with caplog.at_level(logging.INFO):
        client.post("/predict", json={"rows": [good_row]}, headers={"x-request-id": "r-17"})

    text = caplog.text
    assert "r-17" in text
    assert "RuntimeError" in text
    assert "secret of the house" not in text
    assert json.dumps(good_row["pixels"]) not in text


def test_a_replica_takes_on_no_more_bytes_than_it_may(host, good_row):
    """Two bodies at once are too many for this one; one is not, whatever its size."""
    limits = RequestLimits(max_request_bytes=10_000, max_rows=20, max_bytes_at_once=100)
    endpoints = PredictionEndpoints(OneVersion(host), limits)
    body = json.dumps({"rows": [good_row]}).encode()
    headers = {b"content-length": str(len(body)).encode()}
    waiting = asyncio.Event()

    async def late():
        await waiting.wait()
        return {"type": "http.request", "body": body}

    async def scenario():
        first = asyncio.ensure_future(endpoints.predict(headers, late, {}))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await endpoints.predict(headers, late, {})
        waiting.set()
        answers = [await first, await endpoints.predict(headers, late, {})]
        return [answer.status for answer in answers]

    assert asyncio.run(scenario()) == [200, 200]


def test_a_full_replica_refuses_before_it_reads(client, host):
    host.is_full = True

    answer = client.post("/predict", content=b"not even JSON")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
