"""A registered language model, promoted and served: text in, the next character out."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from raymi.evaluate import stage as evaluate_stage
from raymi.registry import stage as registry_stage
from raymi.registry.bundle import load_bundle
from raymi.registry.store import InMemoryModelStore
from raymi.serve.api import build_api
from raymi.serve.batching import BatchLimits
from raymi.serve.guard import Access, Guard
from raymi.serve.host import ModelHost
from raymi.serve.identity import RequestLimits, ServedModel
from raymi.serve.openapi import example_infer
from raymi.serve.rows import example_row, parse_rows
from tests.unit.serve.one_version import OneVersion

CONTEXT = 24


@pytest.fixture(scope="module")
def bundle(text_run, tmp_path_factory):
    """The champion that the run became."""
    evaluation = evaluate_stage.run(text_run.result, store_dir=text_run.store_dir)
    store = InMemoryModelStore(tmp_path_factory.mktemp("models"))
    version = registry_stage.run(
        text_run.result, evaluation, store=store, store_dir=text_run.store_dir
    )
    store.promote(version.name, version.version, by="test", reason="")
    champion = store.resolve("things@champion")
    return load_bundle(Path(champion.path), fingerprint=champion.fingerprint)


@pytest.fixture
def host(bundle):
    limits = BatchLimits(max_batch_size=4, max_wait_s=0.0, max_waiting_rows=100)
    host = ModelHost(bundle, ServedModel("things", 1, "ab" * 32, "fp32", 4), limits)
    host.warm_up()
    yield host
    host.close()


@pytest.fixture
def client(host):
    limits = RequestLimits(max_request_bytes=100_000, max_rows=20)
    app = build_api(OneVersion(host), limits, Guard(Access()))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def infer(texts):
    tensor = {"name": "note", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return {"inputs": [tensor]}


def test_a_text_is_answered_with_the_next_character_and_its_probability(client, bundle):
    answer = client.post("/predict", json={"rows": [{"note": "To be or not"}]})

    expected = bundle.predictor().predict_table(pa.table({"note": ["To be or not"]}))
    (prediction,) = answer.json()["predictions"]
    assert answer.status_code == 200
    assert prediction["label"] == expected.labels[0]
    assert prediction["probability"] == pytest.approx(expected.probabilities.max(), rel=1e-5)


def test_every_byte_has_a_probability(client):
    body = {"rows": [{"note": "a"}, {"note": "x" * CONTEXT}], "probabilities": True}

    answer = client.post("/predict", json=body).json()

    for prediction in answer["predictions"]:
        every = prediction["probabilities"]
        assert len(every) == 256
        assert sum(every.values()) == pytest.approx(1.0, abs=1e-5)
        assert every[prediction["label"]] == max(every.values())


def test_texts_of_different_lengths_are_answered_as_each_alone(host):
    texts = ["a", "this is row", "été", "x" * CONTEXT, "b"]

    async def ask(rows):
        return await host.predict(parse_rows(rows, host.signature, max_rows=20))

    together = asyncio.run(ask([{"note": text} for text in texts])).probabilities

    for row, text in enumerate(texts):
        alone = asyncio.run(ask([{"note": text}])).probabilities
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty text"),
        ("x" * (CONTEXT + 1), f"it is text of {CONTEXT + 1} bytes"),
        ("é" * (CONTEXT // 2 + 1), f"it is text of {CONTEXT + 2} bytes"),
        ("\ud800", "it is text that is not valid Unicode"),
        (None, "it is null"),
        (3, "it is a number"),
    ],
)
def test_what_cannot_be_continued_is_refused_by_name(client, text, why):
    body = json.dumps({"rows": [{"note": "fine"}, {"note": text}]})

    answer = client.post("/predict", content=body)

    problem = answer.json()
    assert answer.status_code == 422
    assert problem["field"] == "rows[1].note"
    assert problem["why"] == why
    assert f"text of 1 to {CONTEXT} bytes" in problem["try"]


def test_the_open_inference_protocol_answers_with_a_character_and_256_probabilities(client):
    answer = client.post("/v2/models/things/infer", json=infer(["To be", "or"]))

    label, probabilities = answer.json()["outputs"]
    assert (label["name"], label["datatype"], label["shape"]) == ("label", "BYTES", [2])
    assert (probabilities["name"], probabilities["shape"]) == ("probabilities", [2, 256])
    best = np.reshape(probabilities["data"], (2, 256)).argmax(axis=1)
    assert [chr(byte) for byte in best if byte < 128] == [c for c in label["data"] if len(c) == 1]


def test_the_open_inference_protocol_refuses_empty_text(client):
    answer = client.post("/v2/models/things/infer", json=infer(["To be", ""]))

    assert answer.status_code == 422
    assert "data[1]" in answer.json()["error"]


def test_the_examples_that_are_documented_are_taken(client, bundle):
    rows = client.post("/predict", json={"rows": [example_row(bundle.signature)]})
    tensors = client.post("/v2/models/things/infer", json=example_infer(bundle.signature))
    schema = client.get("/openapi.json").json()

    assert (rows.status_code, tensors.status_code) == (200, 200)
    assert '"minLength": 1' in str(schema).replace("'", '"')
