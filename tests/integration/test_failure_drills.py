"""Each failure is caused for real: it is named, dealt with as its reason says, and costs no bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from ray.util import placement_group_table

from raymi.errors import TrainingError
from raymi.settings import settings
from raymi.train import stage
from raymi.train.checkpoint_store import CheckpointStore
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from tests.integration.training_drills import (
    TWO_WORKERS,
    digest,
    digits,
    events_of,
    losses,
    newest_run,
    train,
    wait_for,
    wait_for_events,
    workers_below,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

HUNGRY_NETWORK = """
import torch
from torch import nn

from raymi.models.architecture import Architecture
from raymi.train.problem import Problem


class Net(nn.Module):
    '''Fits two rows into its memory.'''

    def __init__(self, preprocessing):
        super().__init__()
        self.head = nn.Linear(64, preprocessing.num_outputs)

    def forward(self, inputs):
        pixels = next(iter(inputs.values()))
        if self.training and len(pixels) > 2 and pixels.device.type != "meta":
            raise torch.OutOfMemoryError("HIP out of memory. Tried to allocate 2.00 GiB")
        return self.head(pixels.reshape(len(pixels), 64).float())


problem = Problem(architecture=Architecture(name="hungry_network:Net"))
"""


@pytest.fixture(scope="module")
def two_workers(job, repository):
    return digits(repository, *TWO_WORKERS)


@pytest.fixture(scope="module")
def undisturbed(two_workers):
    """Weights of the run that nothing happens to."""
    return digest(train(two_workers).run_dir)


def test_a_killed_worker_and_a_damaged_checkpoint_cost_time_and_nothing_else(
    undisturbed, two_workers, cluster
):
    damaged, half_written = [], []

    def kill_and_damage(run_dir):
        wait_for_events(run_dir, "checkpoint", 2)
        workers = workers_below(cluster.head_pid)
        for worker in workers:
            worker.suspend()  # No checkpoint appears between the look and the end.
        newest = CheckpointStore(run_dir, keep=2).newest_first()[0]
        flip_a_byte(newest / "state.safetensors")
        half_written.append(run_dir / "checkpoints/.step-000000015.abc")
        half_written[0].mkdir()
        damaged.append(newest)
        workers[-1].kill()
        for worker in workers[:-1]:
            worker.resume()

    result = train(two_workers, meanwhile=kill_and_damage)

    [failure] = events_of(result.run_dir, "failure")
    [skipped] = events_of(result.run_dir, "checkpoint_skipped")
    starts = [event["step"] for event in events_of(result.run_dir, "attempt")]
    assert (failure["reason"], failure["policy"], result.attempts) == ("worker_died", "retry", 2)
    assert skipped["path"] == str(damaged[0])
    assert starts == [0, step_of(damaged[0]) - 10]
    assert not half_written[0].exists()
    assert digest(result.run_dir) == undisturbed


@pytest.mark.drill
def test_a_preempted_worker_takes_all_along_and_nothing_is_computed_twice(
    undisturbed, two_workers, cluster
):
    def preempt(run_dir):
        wait_for_events(run_dir, "checkpoint", 2)
        workers_below(cluster.head_pid)[-1].terminate()

    result = train(two_workers, meanwhile=preempt)

    [left] = events_of(result.run_dir, "left")
    starts = [event["step"] for event in events_of(result.run_dir, "attempt")]
    assert left["cause"] == "preempted"
    assert starts == [0, left["step"]]
    assert events_of(result.run_dir, "failure") == []
    assert result.attempts == 2
    assert digest(result.run_dir) == undisturbed


@pytest.mark.drill
def test_memory_that_runs_out_halves_the_micro_batch_until_it_fits(job, repository, tmp_path):
    Path("hungry_network.py").write_text(HUNGRY_NETWORK)
    hungry = (
        "problem=hungry_network",
        "model={}",
        "resources.num_workers=1",
        "batch.global_batch_size=32",
        "epochs=1",
    )
    small = stage.make_plan(
        digits(repository, *hungry, "batch.micro_batch_size=2"),
        run_id="small",
        accelerator="cpu",
        store_dir=tmp_path,
    ).model_copy(update={"run_dir": str(tmp_path)})

    result = train(digits(repository, *hungry, "batch.micro_batch_size=8"))
    train_worker(small, SingleProcessLauncher())

    failures = events_of(result.run_dir, "failure")
    assert [(f["reason"], f["policy"]) for f in failures] == [("out_of_memory", "shrink")] * 2
    sizes = [event["micro_batch_size"] for event in events_of(result.run_dir, "attempt")]
    assert sizes == [8, 4, 2]
    assert result.attempts == 3
    assert losses(result.run_dir) == losses(tmp_path)
    assert digest(result.run_dir) == digest(tmp_path)


@pytest.mark.drill
def test_storage_that_is_away_for_a_while_loses_nothing(undisturbed, two_workers):
    def take_away(run_dir):
        wait_for_events(run_dir, "checkpoint", 2)
        away = run_dir.with_name("away")
        run_dir.rename(away)
        time.sleep(2.5)
        assert not run_dir.exists()
        away.rename(run_dir)

    result = train(two_workers, meanwhile=take_away)

    [trouble] = events_of(result.run_dir, "storage_trouble")
    assert trouble["reason"] == "storage_unavailable"
    assert events_of(result.run_dir, "failure") == []
    assert [event["epoch"] for event in events_of(result.run_dir, "epoch")] == [1, 2]
    assert result.attempts == 1
    assert digest(result.run_dir) == undisturbed


@pytest.mark.drill
def test_a_full_disk_ends_a_run_that_goes_on_once_there_is_room(
    undisturbed, job, repository, small_disk
):
    spec = digits(repository, *TWO_WORKERS, "checkpoint.storage_patience_s=3")

    def fill(run_dir):
        wait_for_events(run_dir, "checkpoint", 2)
        small_disk.fill()

    def fill_for_a_moment(run_dir):
        wait_for_events(run_dir, "attempt", 2)
        small_disk.fill()
        time.sleep(1.5)
        small_disk.free()

    with pytest.raises(TrainingError) as caught:
        train(spec, meanwhile=fill, store_dir=small_disk.path)
    small_disk.free()
    run_dir = newest_run(small_disk.path)
    saved = newest_checkpoint(run_dir)
    result = train(
        spec, resume=run_dir.name, meanwhile=fill_for_a_moment, store_dir=small_disk.path
    )

    assert caught.value.reason == "disk_full"
    assert events_of(run_dir, "attempt")[-1]["step"] == saved > 0
    assert {event["reason"] for event in events_of(run_dir, "storage_trouble")} == {"disk_full"}
    assert result.attempts == 1
    assert digest(run_dir) == undisturbed


@pytest.mark.drill
def test_a_driver_that_gets_sigterm_saves_and_the_run_goes_on_later(job, repository, start_driver):
    # Workers look for the driver's note once a second: the run must take some on an idle machine.
    longer = (*TWO_WORKERS, "epochs=20")
    undisturbed = digest(train(digits(repository, *longer)).run_dir)
    driver, run_dir = start_driver(*longer)
    wait_for_events(run_dir, "checkpoint", 2)

    driver.send_signal(signal.SIGTERM)
    log, error = driver.communicate(timeout=60)
    result = train(digits(repository, *longer), resume=run_dir.name)

    [left] = events_of(run_dir, "left")
    [stopped] = events_of(run_dir, "stopped")
    starts = [event["step"] for event in events_of(run_dir, "attempt")]
    assert driver.returncode == 1
    assert f"run {run_dir.name} was stopped" in error
    assert f"--resume {run_dir.name}" in error
    assert "the workers will save and leave" in log
    assert (left["cause"], stopped["reason"]) == ("stop", "preempted")
    assert starts == [0, left["step"]]
    assert result.attempts == 1
    assert digest(run_dir) == undisturbed


@pytest.mark.drill
def test_a_driver_that_is_interrupted_twice_ends_at_once_and_leaves_nothing_running(
    start_driver, cluster
):
    driver, run_dir = start_driver(*TWO_WORKERS, "epochs=10000")
    wait_for_events(run_dir, "checkpoint", 1)

    driver.send_signal(signal.SIGINT)
    time.sleep(0.1)
    driver.send_signal(signal.SIGINT)
    _, error = driver.communicate(timeout=15)

    assert driver.returncode == 1
    assert f"--resume {run_dir.name}" in error
    assert "Traceback" not in error
    wait_for(lambda: workers_below(cluster.head_pid) == [], "the workers to end")
    wait_for(lambda: reserved_places() == [], "their places to be given back")


@pytest.fixture
def start_driver(job, cluster, repository):
    """Run jobs/train.py in a process of its own; the process and its run's directory."""
    drivers = []

    def start_driver(*changes):
        changes = (f"data.root={repository}/jobs/digits", *changes)
        runs = settings().store_dir / "runs"
        before = set(runs.glob("*"))
        driver = subprocess.Popen(
            [
                sys.executable,
                *("jobs/train.py", "jobs/digits/train.yaml"),
                *(part for change in changes for part in ("--set", change)),
            ],
            cwd=repository,
            env={**os.environ, "PYTHONPATH": "platform"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        drivers.append(driver)
        wait_for(lambda: set(runs.glob("*")) > before, "the run")
        [run_dir] = set(runs.glob("*")) - before
        return driver, run_dir

    yield start_driver
    for driver in drivers:
        driver.kill()
        driver.communicate()


def reserved_places():
    return [group for group in placement_group_table().values() if group["state"] != "REMOVED"]


class SmallDisk:
    """A file system of a few MiB that can be kept full."""

    def __init__(self, path):
        self.path = path
        self._filler = path / "filler"
        self._freed = threading.Event()
        self._thread = threading.Thread(target=self._fill)

    def fill(self):
        """Take all that is left, and all that becomes free."""
        self._freed.clear()
        self._thread = threading.Thread(target=self._fill)
        self._thread.start()

    def free(self):
        """Give everything back."""
        self._freed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._filler.unlink(missing_ok=True)

    def _fill(self):
        with self._filler.open("wb", buffering=0) as file:
            while not self._freed.wait(0.005):
                with suppress(OSError):
                    while file.write(bytes(4096)):
                        pass


@pytest.fixture
def small_disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root, and this is not root's machine")
    disk = SmallDisk(path)
    yield disk
    disk.free()
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def newest_checkpoint(run_dir):
    """Step of the newest; it must be whole."""
    skipped = []
    found = CheckpointStore(run_dir, keep=2).load_newest(lambda path, why: skipped.append(why))
    assert skipped == []
    return found[1]["step"]


def step_of(checkpoint):
    return int(checkpoint.name.removeprefix("step-"))
