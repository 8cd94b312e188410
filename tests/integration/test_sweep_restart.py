"""A sweep whose driver was killed goes on with the same command, and repeats nothing finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from raymi.sweep.receipt import Receipt
from raymi.sweep.workspace import RECEIPT_FILE
from raymi.train.events import EVENTS_FILE, read_events

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

OVERRIDES = [
    "space={optimizer.learning_rate: [3.0e-3, 2.0e-3]}",
    "objective=quality",
    "probe.rounds=6",
    "probe.window_s=0.05",
    "quality.seeds=2",
    "quality.confirm_seeds=1",
    "train.epochs=4",
    "constraints.max_quality_loss=0.05",
]
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def start(cluster, home, repository):
    """Start the same command again and again; nothing of it outlives the tests."""
    started = []

    def start():
        command = [sys.executable, "jobs/sweep.py", "jobs/digits/sweep.yaml"]
        for override in OVERRIDES:
            command += ["--set", override]
        environment = {
            **os.environ,
            "RAY_ADDRESS": cluster.gcs_address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": cluster.token,
            "PYTHONPATH": os.pathsep.join([str(repository / "platform"), str(repository)]),
        }
        with (home / f"driver-{len(started)}.log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=repository, env=environment, stdout=log, stderr=log
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def finished(start, home):
    """The directory of a sweep that was killed in its probe and in its first second run."""
    for kind, count in (("probe_started", 1), ("run_started", 2)):
        process = start()
        wait_for(home, process, kind, count)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start()
    assert process.wait(timeout=PATIENCE_S) == 0, (home / "driver-2.log").read_text()[-3000:]
    [directory] = (home / "store" / "sweeps").iterdir()
    return directory


def wait_for(home, process, kind, count):
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s and process.poll() is None:
        events = [e for p in home.glob(f"store/sweeps/*/{EVENTS_FILE}") for e in read_events(p)]
        if sum(event["event"] == kind for event in events) >= count:
            return
        time.sleep(0.1)
    pytest.fail(f"no {kind} after {PATIENCE_S:.0f} s, exit code {process.poll()}")


def test_it_is_one_sweep_and_its_receipt_holds(finished):
    assert Receipt.verify(finished / RECEIPT_FILE) == ()


def test_no_run_that_had_ended_was_started_again(finished):
    ended: Counter[str] = Counter()
    for event in read_events(finished / EVENTS_FILE):
        if event["event"] == "run_ended":
            ended[event["run_id"]] += 1
        if event["event"] == "run_started":
            assert ended[event["run_id"]] == 0

    assert ended


def test_what_was_spent_before_it_was_killed_is_counted(finished):
    receipt = Receipt.load(finished / RECEIPT_FILE)

    assert receipt.evidence.spending.probe_s > 0
    assert json.loads((finished / "started.json").read_text())["started_at"]
    sessions = [e for e in read_events(finished / EVENTS_FILE) if e["event"] == "sweep_started"]
    assert [bool(event["is_continued"]) for event in sessions] == [False, True, True]
