"""The demo does the main job from nothing to a checked endpoint, and leaves nothing running."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def demo(home, repository):
    # As in a shell where nobody has heard of Ray.
    environment = {name: value for name, value in os.environ.items() if "RAY" not in name}
    return subprocess.run(
        [sys.executable, "jobs/demo.py"],
        cwd=repository,
        env={**environment, "RAYMI_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def summary(demo, home):
    assert demo.returncode == 0, f"{demo.stdout[-4000:]}\n{demo.stderr[-4000:]}"
    return json.loads((home / "demo" / "summary.json").read_text())


def processes_of(home):
    """Everything that inherited this home, whoever its parent is by now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAYMI_HOME") == str(home):
                found.append(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_the_summary_has_its_documented_keys(summary):
    assert set(summary) == {
        "job_submission_id",
        "job_status",
        "trials",
        "winner",
        "model",
        "endpoint",
        "num_test_rows",
        "offline_accuracy",
        "served_accuracy",
        "mismatches",
        "seconds",
    }


def test_the_job_succeeded_and_every_setting_is_a_row(summary):
    assert summary["job_status"] == "SUCCEEDED"
    assert [(t["precision"], t["micro_batch_size"]) for t in summary["trials"]] == [
        ("fp32", 8), ("fp32", 32), ("bf16", 8), ("bf16", 32)
    ]  # fmt: skip
    assert [t["status"] for t in summary["trials"]].count("winner") == 1
    assert {frozenset(trial) for trial in summary["trials"]} == {
        frozenset(
            {"precision", "micro_batch_size", "samples_per_s", "accuracy", "status", "reason"}
        )
    }


def test_the_winner_is_one_of_the_trials(summary):
    assert summary["winner"].pop("why")
    assert summary["winner"] in summary["trials"]


def test_what_is_served_is_what_was_measured(summary):
    assert summary["num_test_rows"] > 300
    assert summary["mismatches"] == 0
    assert summary["served_accuracy"] == summary["offline_accuracy"]
    assert summary["served_accuracy"] >= 0.95


def test_nothing_it_started_is_left(summary, home):
    assert processes_of(home) == []
