"""A host's predictions are the model's own, however requests are batched."""

import asyncio
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
import torch

from raymi.data.preprocessing import (
    CategoryFeature,
    ClassTarget,
    NumberFeature,
    Preprocessing,
    TensorFeature,
    TextFeature,
)
from raymi.errors import RequestError
from raymi.evaluate.network import EagerNetwork
from raymi.evaluate.predictor import Predictor
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.registry.signature import Signature
from raymi.serve.batching import BatchLimits, sizes_up_to
from raymi.serve.host import ModelHost
from raymi.serve.identity import ServedModel
from raymi.serve.rows import parse_rows
from raymi.specs.precision import Precision

PREPROCESSING = Preprocessing(
    features=(
        TensorFeature(column="pixels", shape=(2, 2), mean=100.0, std=50.0),
        NumberFeature(
            column="weight", mean=0.0, std=1.0, quantiles=(-1.0, 0.0, 1.0), nullable=False
        ),
        CategoryFeature(column="colour", vocabulary=("blue", "red"), nullable=True),
        NumberFeature(column="count", mean=3.0, std=2.0, quantiles=(0.0, 3.0, 9.0), nullable=True),
        TextFeature(column="note", num_buckets=32, max_words=4, num_grams=3, nullable=True),
    ),
    target=ClassTarget(column="shape", classes=(0, 1, 2)),
)


@dataclass
class Servable:
    """As much of a bundle as a host needs."""

    signature: Signature
    preprocessing: Preprocessing
    model: torch.nn.Module

    def predictor(self):
        return Predictor(EagerNetwork(self.model, precision=Precision.FP32), self.preprocessing)


@pytest.fixture
def servable(signature):
    torch.manual_seed(0)
    note = signature.inputs[2].model_copy(update={"name": "note", "kind": "text"})
    extended = signature.model_copy(update={"inputs": (*signature.inputs, note)})
    model = build_model(Architecture(name="mlp", arguments={"hidden": [8]}), PREPROCESSING)
    return Servable(extended, PREPROCESSING, model)


@pytest.fixture
def model_host(servable):
    limits = BatchLimits(max_batch_size=4, max_wait_s=0.0, max_waiting_rows=100)
    host = ModelHost(servable, ServedModel("shapes", 1, "ab", "fp32", 4), limits)
    yield host
    host.close()


def some_rows(num_rows):
    draw = np.random.default_rng(7)
    return [
        {
            "pixels": draw.integers(0, 256, (2, 2)).tolist(),
            "weight": float(draw.normal()),
            "colour": [None, "red", "green"][row % 3],
            "count": [None, 4][row % 2],
            "note": "such a nice day" if row % 2 else None,
        }
        for row in range(num_rows)
    ]


def predict(host, requests):
    async def all_at_once():
        parsed = [parse_rows(rows, host.signature, max_rows=1000) for rows in requests]
        return await asyncio.gather(*map(host.predict, parsed), return_exceptions=True)

    return asyncio.run(all_at_once())


@pytest.mark.parametrize("sizes", [[1] * 11, [3, 8], [11], [2, 9]])
def test_concurrent_requests_get_what_each_would_get_alone(servable, model_host, sizes):
    rows = some_rows(11)
    starts = np.cumsum([0, *sizes])
    requests = [rows[start : start + size] for start, size in zip(starts[:-1], sizes, strict=True)]
    table = pa.Table.from_batches([parse_rows(rows, servable.signature, max_rows=11)])
    arrays = PREPROCESSING.encode(table)
    expected = servable.predictor().predict(arrays).probabilities

    answers = predict(model_host, requests)

    assert [answer.num_rows for answer in answers] == sizes
    found = np.concatenate([answer.probabilities for answer in answers])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_host_is_ready_once_it_is_warm(model_host):
    assert not model_host.is_ready

    model_host.warm_up()

    assert model_host.is_ready
    model_host.check()


def test_a_row_without_a_finite_answer_is_refused_and_its_batch_mates_are_not(servable, model_host):
    with torch.no_grad():
        embedding = servable.model.category_embeddings[0].weight
        embedding[2] = float("nan")
    rows = some_rows(2)

    good, bad = predict(model_host, [[rows[0]], [{**rows[1], "colour": "red"}]])

    assert good.num_rows == 1
    assert isinstance(bad, RequestError)
    assert bad.field == "rows[0]"


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [
        (1, (1,)),
        (2, (1, 2)),
        (3, (1, 2, 3)),
        (8, (1, 2, 4, 8)),
        (100, (1, 2, 4, 8, 16, 32, 64, 100)),
    ],
)
def test_batches_are_warmed_from_one_row_to_the_largest(largest, sizes):
    assert sizes_up_to(largest) == sizes


def test_sizes_between_one_and_a_full_batch_are_computed_before_anybody_is_served(model_host):
    model_host.warm_up()

    assert set(model_host.batch_sizes) == {1, 2, 4}
