"""What drills share: specs of a small run, what it leaves behind, and hands that break things."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from raymi.settings import settings
from raymi.specs.loading import load_spec
from raymi.specs.train import TrainSpec
from raymi.train import stage
from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.outcome import MODEL_FILE
from raymi.train.result import TrainResult

# Seconds long on two CPUs, so that there is a middle; the last step of an epoch is ragged.
TWO_WORKERS = (
    "resources.num_workers=2",
    "batch.global_batch_size=32",
    "batch.micro_batch_size=4",
    "checkpoint.every_steps=10",
    "epochs=2",
    "model.dropout=0",
)

PATIENCE_S = 60.0


def digits(repository: Path, *changes: str) -> TrainSpec:
    """A spec of the digits with `path=value` changes."""
    root = f"data.root={repository}/jobs/digits"
    spec = load_spec(repository / "jobs/digits/train.yaml", [root, *changes])
    assert isinstance(spec, TrainSpec)
    return spec


def train(
    spec: TrainSpec,
    *,
    meanwhile: Callable[[Path], None] | None = None,
    resume: str | None = None,
    store_dir: Path | None = None,
) -> TrainResult:
    """Train on the cluster; `meanwhile` gets the run's directory, in a thread."""
    threads: list[threading.Thread] = []
    directory = store_dir or settings().store_dir

    def say(line: str) -> None:
        if meanwhile is not None and line.startswith("run "):
            run_dir = directory / "runs" / line.split()[1].rstrip(":")
            threads.append(threading.Thread(target=meanwhile, args=(run_dir,)))
            threads[-1].start()

    try:
        return stage.run(spec, store_dir=directory, say=say, resume=resume)
    finally:
        for thread in threads:
            thread.join()


def events_of(run_dir: Path | str, *kinds: str) -> list[dict[str, Any]]:
    """Events of some kinds, in order."""
    return [event for event in read_events(Path(run_dir) / EVENTS_FILE) if event["event"] in kinds]


def newest_run(store_dir: Path | None = None) -> Path:
    """The directory of the run that was started last."""
    return max(((store_dir or settings().store_dir) / "runs").iterdir(), key=os.path.getctime)


def losses(run_dir: Path | str) -> list[float]:
    """The loss curve: means over all ranks, at the end of each epoch."""
    return [
        value
        for event in events_of(run_dir, "epoch")
        for value in (event["train_loss"], event["loss"])
    ]


def digest(run_dir: Path | str) -> str:
    """sha256 of the final weights."""
    return hashlib.sha256((Path(run_dir) / MODEL_FILE).read_bytes()).hexdigest()


def wait_for(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Look every few milliseconds until something holds."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {patience_s:.0f} s for {what}"
        time.sleep(0.01)


def wait_for_events(run_dir: Path, kind: str, count: int) -> None:
    """Wait until a run has logged so many events of a kind."""
    wait_for(lambda: len(events_of(run_dir, kind)) >= count, f"{count} events `{kind}`")


def workers_below(pid: int) -> list[psutil.Process]:
    """The training workers among the descendants of a process."""
    workers = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                workers.append(process)
    return workers
