"""TrainResult: what one run produced, and everything needed to produce it again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from raymi.data.preprocessing import Preprocessing
from raymi.models.architecture import Architecture
from raymi.store.record import Record
from raymi.train.plan import Teacher


class Provenance(Record):
    """Where and with what a run happened."""

    git_commit: str | None
    """Commit of the code, with `+dirty` if files differed; None outside a checkout."""

    code_package: str | None
    """Ray's content hash of the uploaded working directory, if the job had one."""

    environment: dict[str, str]
    """Installed distributions and their versions, and Python's."""

    hardware: dict[str, Any]
    """Accelerator, CPU model and count, memory, operating system."""

    started_at: datetime
    """UTC."""


class TrainResult(Record):
    """A finished training run."""

    run_id: str
    """Unique; also the run's directory name."""

    run_dir: str
    """Where spec, events, checkpoints and `model.safetensors` are."""

    spec: dict[str, Any]
    """The resolved TrainSpec."""

    spec_fingerprint: str
    """sha256 of that spec."""

    dataset: dict[str, Any]
    """Name, fingerprint and row counts of the data."""

    problem: str
    """The problem's module."""

    architecture: Architecture
    """The network."""

    preprocessing: Preprocessing
    """From rows to the network's inputs."""

    metrics: dict[str, float]
    """On the validation split, after the last step: `accuracy`, `rmse`, `loss`, ..."""

    primary_metric: str
    """`accuracy`, `rmse`, or `loss` for text that is continued."""

    samples_per_s: float
    """Training samples per second over all workers, warm-up excluded."""

    peak_memory_gib: float
    """Largest worker: accelerator memory if it has its own, else resident memory."""

    duration_s: float
    """Wall-clock time of the training loop, all attempts."""

    attempts: int
    """1 plus the number of times the worker group was restarted."""

    parity: dict[str, Any] | None = None
    """How the first steps compared with an fp32 twin."""

    teacher: Teacher | None = None
    """Who it learned from besides its labels."""

    provenance: Provenance
    """Where and with what."""
