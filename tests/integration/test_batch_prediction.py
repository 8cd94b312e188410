"""A batch prediction outlives driver and actor: every row comes out once, and right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymi.registry.bundle import load_bundle
from raymi.store.artifacts import verify
from tests.integration.serving.served_models import CLASSES, register_model

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

NUM_ROWS, ROWS_PER_PART = 3000, 400
NUM_PARTS = 8
NULL_ROWS = (0, 399, 400, 1777, 2999)
START_TIMEOUT_S = 90.0


def unpredicted_rows() -> pa.Table:
    """Rows of a picture and a weight; a few have no picture."""
    draw = np.random.default_rng(7)
    pixels = draw.integers(0, 256, (NUM_ROWS, 16), dtype=np.uint8).tolist()
    for row in NULL_ROWS:
        pixels[row] = None
    weights = [None if row % 5 == 0 else float(draw.normal(2.0)) for row in range(NUM_ROWS)]
    return pa.table(
        {
            "pixels": pa.array(pixels, pa.list_(pa.uint8())),
            "weight": pa.array(weights, pa.float64()),
            "name": [f"row {row}" for row in range(NUM_ROWS)],
        }
    )


@dataclass(frozen=True)
class BatchJob:
    """The command, what it reads and where it writes."""

    command: list[str]
    environment: dict[str, str]
    output: Path
    version: object
    rows: pa.Table

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            return subprocess.Popen(
                self.command, env=self.environment, cwd=log.parent, stdout=file, stderr=file
            )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def wait_for_parts(self, count: int, driver: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while driver.poll() is None and time.monotonic() < deadline_s:
            if len(list(self.output.glob("receipts/part-*.json"))) >= count:
                return
            time.sleep(0.002)

    def parts(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.output.glob("predictions/*.parquet")}


@pytest.fixture(scope="module")
def job(cluster, home, repository, tmp_path_factory) -> BatchJob:
    """One row in a forward pass, one actor: slow enough to be killed in the middle."""
    directory = tmp_path_factory.mktemp("batch")
    version = register_model(directory, seed=5)
    rows = unpredicted_rows()
    # Two files, cut where no part begins.
    pq.write_table(rows.slice(0, 1100), directory / "a.parquet", row_group_size=300)
    pq.write_table(rows.slice(1100), directory / "b.parquet", row_group_size=700)
    spec = directory / "spec.yaml"
    document = {
        "kind": "batch_predict",
        "model": version.reference,
        "input": {"files": [str(directory / "*.parquet")]},
        "output": str(directory / "output"),
        "keep": ["name"],
        "probabilities": True,
        "max_batch_size": 1,
        "rows_per_part": ROWS_PER_PART,
        "actors": {"max_size": 1},
    }
    spec.write_text(json.dumps(document))
    environment = {
        **os.environ,
        **cluster.environment,
        "RAYMI_HOME": str(home),
        "RAY_ADDRESS": cluster.gcs_address,
    }
    command = [sys.executable, str(repository / "jobs" / "batch_predict.py"), str(spec)]
    return BatchJob(command, environment, directory / "output", version, rows)


@pytest.fixture(scope="module")
def survivors(job, tmp_path_factory) -> dict[str, bytes]:
    """Kill the driver once a part is published; the parts that it has left."""
    log = tmp_path_factory.mktemp("log") / "job.log"
    driver = job.start(log)
    job.wait_for_parts(1, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert driver.returncode == -signal.SIGKILL, log.read_text()
    return {name: content for name, content in job.parts().items() if not name.startswith(".")}


@pytest.fixture(scope="module")
def resumed(job, survivors, cluster, tmp_path_factory) -> str:
    """Start the same command again, and kill its actor in the middle; what it has printed."""
    log = tmp_path_factory.mktemp("log") / "job.log"
    driver = job.start(log)
    job.wait_for_parts(len(survivors) + 1, driver)
    below = psutil.Process(cluster.head_pid).children(recursive=True)
    actors = [process for process in below if "PredictorActor" in " ".join(process.cmdline())]
    for process in actors:
        process.kill()
    assert driver.wait(timeout=START_TIMEOUT_S) == 0, log.read_text()
    assert actors
    return log.read_text()


@pytest.fixture(scope="module")
def predictions(job, resumed) -> pa.Table:
    """Of all parts, read one by one."""
    names = sorted(job.parts())
    return pa.concat_tables([pq.read_table(job.output / "predictions" / n) for n in names])


def test_a_killed_driver_leaves_some_parts_and_each_is_whole(survivors):
    tables = [pq.read_table(pa.BufferReader(content)) for content in survivors.values()]

    assert 1 <= len(tables) < NUM_PARTS
    assert {table.num_rows for table in tables} == {ROWS_PER_PART}


def test_the_same_command_makes_only_the_parts_that_are_missing(survivors, resumed, job):
    parts = job.parts()

    assert {name: parts[name] for name in survivors} == survivors
    assert f"going on: {len(survivors)} of {NUM_PARTS} parts are done" in resumed
    assert len(parts) == NUM_PARTS


def test_every_row_comes_out_once_and_in_order_although_driver_and_actor_died(predictions, job):
    assert predictions.column("row").to_pylist() == list(range(NUM_ROWS))
    assert predictions.column("name").equals(job.rows.column("name"))


def test_predictions_are_those_of_the_model_in_this_process(predictions, job):
    can_be = np.isin(np.arange(NUM_ROWS), NULL_ROWS, invert=True)
    pixels = np.array([p for p in job.rows.column("pixels").to_pylist() if p is not None])
    rows = pa.table(
        {
            "pixels": pa.FixedSizeListArray.from_arrays(pixels.astype(np.uint8).ravel(), 16),
            "weight": job.rows.column("weight").filter(pa.array(can_be)),
        }
    )
    expected = load_bundle(Path(job.version.path)).predictor().predict_table(rows).probabilities

    answered = predictions.filter(pa.array(can_be))

    found = np.array(answered.column("probabilities").to_pylist())
    assert np.allclose(found, expected, atol=1e-6)
    assert answered.column("prediction").to_pylist() == [CLASSES[i] for i in found.argmax(axis=1)]
    assert np.allclose(answered.column("probability").to_numpy(), found.max(axis=1))
    assert answered.column("error").null_count == len(answered)


def test_rows_that_cannot_be_predicted_say_why(predictions):
    failed = predictions.take(NULL_ROWS)

    assert failed.column("prediction").null_count == len(NULL_ROWS)
    assert failed.column("probabilities").null_count == len(NULL_ROWS)
    assert all(e.startswith("pixels: must not be null") for e in failed["error"].to_pylist())


def test_the_lineage_says_where_everything_came_from(predictions, job):
    lineage = json.loads((job.output / "lineage.json").read_text())
    metadata = pq.read_schema(job.output / "predictions" / "part-00003.parquet").metadata

    assert lineage["model_fingerprint"] == job.version.fingerprint
    assert lineage["model_lineage"]["run_id"] == "run-5"
    assert lineage["attempts"] == 2
    assert [file["num_rows"] for file in lineage["input"]["files"]] == [1100, 1900]
    assert lineage["check"]["num_distinct_rows"] == NUM_ROWS
    assert lineage["check"]["num_failed"] == len(NULL_ROWS)
    assert metadata[b"raymi.model"] == job.version.reference.encode()
    assert metadata[b"raymi.input_fingerprint"] == lineage["input"]["fingerprint"].encode()
    assert metadata[b"raymi.rows"] == b"1200-1600"


def test_a_damaged_part_is_found_and_made_again(predictions, job):
    before = job.parts()
    part = job.output / "predictions" / "part-00002.parquet"
    part.write_bytes(before[part.name][:-100] + bytes(100))

    done = job.run()

    assert done.returncode == 0, done.stderr
    assert "part-00002: its sha256 is not the published one; it is made again" in done.stdout
    others = {name: content for name, content in before.items() if name != part.name}
    after = job.parts()
    assert {name: after[name] for name in others} == others
    assert pq.read_table(part).equals(predictions.slice(2 * ROWS_PER_PART, ROWS_PER_PART))
    verify(job.output)
