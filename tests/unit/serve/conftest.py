"""A model server without Ray and without a network: one signature, one host that counts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from raymi.data.preprocessing import ClassTarget
from raymi.errors import OverloadedError
from raymi.evaluate import stage as evaluate_stage
from raymi.evaluate.predictor import Predictions
from raymi.registry import stage as registry_stage
from raymi.registry.signature import InputField, OutputField, Signature
from raymi.registry.store import InMemoryModelStore
from raymi.serve.api import ModelApi, build_api
from raymi.serve.guard import Access, Guard
from raymi.serve.identity import RequestLimits, ServedModel
from tests.unit.serve.one_version import OneVersion

OPEN = Access()
MAX_BYTES = 8192
MAX_ROWS = 20
CLASSES = (0, 1, 2)


@pytest.fixture(scope="module")
def store(regression_run, tmp_path_factory) -> InMemoryModelStore:
    """With `things@1`."""
    made = InMemoryModelStore(tmp_path_factory.mktemp("bundles"))
    evaluation = evaluate_stage.run(regression_run.result, store_dir=regression_run.store_dir)
    registry_stage.run(
        regression_run.result, evaluation, store=made, store_dir=regression_run.store_dir
    )
    return made


@pytest.fixture(scope="session")
def signature() -> Signature:
    """One input of each kind: a 2 x 2 image, a number, a nullable category, a text."""
    return Signature(
        inputs=(
            InputField(
                name="pixels",
                datatype="UINT8",
                shape=(2, 2),
                nullable=False,
                kind="tensor",
                example=[[0, 1], [2, 3]],
            ),
            InputField(
                name="weight",
                datatype="FP64",
                shape=(),
                nullable=False,
                kind="number",
                example=1.5,
            ),
            InputField(
                name="colour",
                datatype="BYTES",
                shape=(),
                nullable=True,
                kind="category",
                example="red",
            ),
            InputField(
                name="count",
                datatype="INT64",
                shape=(),
                nullable=True,
                kind="number",
                example=3,
            ),
        ),
        outputs=(
            OutputField(name="label", datatype="INT64", shape=()),
            OutputField(name="probabilities", datatype="FP32", shape=(len(CLASSES),)),
        ),
    )


class CountingHost:
    """Says class `sum(pixels) % 3` with probability 0.5."""

    def __init__(self, signature: Signature) -> None:
        self.served = ServedModel("shapes", 4, "ab" * 32, "fp32", 8)
        self.signature = signature
        self.target = ClassTarget(column="shape", classes=CLASSES)
        self.is_ready = True
        self.fails = False
        self.is_full = False

    def require_room(self) -> None:
        if self.is_full:
            raise OverloadedError("busy", why="full", fix="wait", retry_after_s=1)

    def lease(self) -> None:
        """Nobody retires this one."""

    def release(self) -> None:
        """As above."""

    async def predict(self, rows: pa.RecordBatch) -> Predictions:
        if self.fails:
            raise RuntimeError("secret of the house")
        pixels = np.array(rows.column("pixels").to_pylist()).sum(axis=1)
        return Predictions(
            self.target, np.eye(3, dtype=np.float32)[pixels % 3] / 4 + np.float32(0.25)
        )


@pytest.fixture
def host(signature: Signature) -> CountingHost:
    """The model behind the API."""
    return CountingHost(signature)


@pytest.fixture
def client(host: CountingHost) -> TestClient:
    """An HTTP client of that model, in this process."""
    return TestClient(api_of(host), raise_server_exceptions=False)


def api_of(host: CountingHost, access: Access = OPEN) -> ModelApi:
    """The application in front of a host."""
    limits = RequestLimits(max_request_bytes=MAX_BYTES, max_rows=MAX_ROWS)
    return build_api(OneVersion(host), limits, Guard(access))


@pytest.fixture(scope="session")
def good_row() -> dict:
    """A row the model takes; its pixels add up to 7."""
    return {"pixels": [[4, 1], [2, 0]], "weight": 0.25, "colour": "blue", "count": None}
