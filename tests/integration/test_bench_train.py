"""Contestants are real processes: they start, take turns, may die, and never stay behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from raymi.bench.contestants import Running
from raymi.bench.coordinator import LostContestantError
from raymi.bench.guard import Guard

pytestmark = [pytest.mark.ray, pytest.mark.timeout(420)]

SHORT = ("--rounds", "2", "--window-s", "0.05")
ONE_WORKER = (
    "--set", "resources.num_workers=1", "--set", "batch.global_batch_size=32",
)  # fmt: skip
PATIENCE_S = 240.0


@contextmanager
def bench(repository: Path, home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "raymi", "bench", "train", *arguments]
    variables = {**os.environ, "RAYMI_HOME": str(home), "PYTHONPATH": str(repository / "platform")}
    variables.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        command,
        cwd=repository,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ranks_of(process: subprocess.Popen[str], name: str) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if name in child.cmdline() and "torch.distributed.run" not in child.cmdline()
    ]


def until(condition, what: str):
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if found := condition():
            return found
        time.sleep(0.1)
    pytest.fail(f"waited {PATIENCE_S:.0f} s for {what}")


def is_stopped(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_STOPPED


def test_all_are_measured_and_programs_get_exactly_the_promised_fields(repository, tmp_path):
    with bench(repository, tmp_path, *SHORT, "--json") as process:
        output, errors = process.communicate(timeout=400)

    assert process.returncode == 0, errors
    document = json.loads(output)
    assert list(document) == ["samples_per_s", "ratios", "noise_floor", "scaling"]
    assert {"raymi", "torchrun", "torchrun-b"} <= set(document["samples_per_s"])
    assert min(document["samples_per_s"].values()) > 0
    assert set(document["ratios"]["torchrun"]) == {"median", "low", "high"}
    assert document["noise_floor"] >= 0
    assert document["scaling"]["num_workers"] == 2
    assert set(document["scaling"]["efficiency"]) == {"median", "low", "high"}


@pytest.mark.drill
def test_one_that_dies_is_a_row_with_a_reason_and_the_rest_goes_on(repository, tmp_path):
    with bench(repository, tmp_path, *SHORT, *ONE_WORKER) as process:
        until(lambda: ranks_of(process, "torchrun-b"), "torchrun-b to start")[0].kill()
        output, errors = process.communicate(timeout=400)

    assert process.returncode == 0, errors
    [row] = [line for line in output.splitlines() if line.startswith("torchrun once more")]
    assert "exit code" in row
    assert "at least 0.99 is claimed" in output
    assert "noise:" not in output


def test_nobody_is_left_behind_after_ctrl_c(repository, tmp_path):
    with bench(repository, tmp_path, *SHORT, *ONE_WORKER) as process:
        until(lambda: ranks_of(process, "torchrun"), "torchrun to start")
        started = psutil.Process(process.pid).children(recursive=True)

        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

        assert process.returncode == 130
        _, alive = psutil.wait_procs(started, timeout=20)
        assert alive == []


@pytest.fixture
def sleeper(tmp_path) -> Iterator[Running]:
    code = "import subprocess, sys; subprocess.run(['sleep', '100'])"
    running = Running(
        [sys.executable, "-c", code],
        name="sleeper",
        variables=dict(os.environ),
        log_path=tmp_path / "output.txt",
    )
    until(lambda: len(running._tree()) == 2, "the sleeper's child")
    yield running
    running.stop()


def test_a_frozen_contestant_stands_still_with_its_children_until_it_is_thawed(sleeper):
    guard = Guard()
    tree = sleeper._tree()

    sleeper.freeze(guard)
    until(lambda: all(map(is_stopped, tree)), "everybody to stop")
    sleeper.thaw()
    until(lambda: not any(map(is_stopped, tree)), "everybody to go on")

    guard.close()


def test_the_frozen_wake_up_when_their_coordinator_is_gone(sleeper):
    guard = Guard()
    tree = sleeper._tree()
    sleeper.freeze(guard)
    until(lambda: all(map(is_stopped, tree)), "everybody to stop")

    # What the kernel does when the coordinator is killed.
    guard.close()

    assert not any(map(is_stopped, tree))


def test_one_that_ended_says_why(tmp_path):
    running = Running(
        [sys.executable, "-c", "raise KeyError('x')"],
        name="short",
        variables=dict(os.environ),
        log_path=tmp_path / "output.txt",
    )

    running._process.wait()
    with pytest.raises(LostContestantError, match=r"exit code 1: KeyError: 'x'"):
        running.require_alive()
    running.stop()
