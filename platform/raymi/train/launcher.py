"""Who started this worker: the few things the training loop asks of Ray Train, or of nobody."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch


class Launcher(Protocol):
    """What the loop needs to know about its surroundings."""

    rank: int
    world_size: int
    device: torch.device

    def latest_checkpoint(self) -> Path | None:
        """A local copy of the newest checkpoint, if the run has one."""

    def report(self, metrics: Mapping[str, float], checkpoint: Path | None) -> None:
        """Hand over metrics and, on rank 0, a finished checkpoint directory.

        Every rank calls this the same number of times. The directory may be deleted after.
        """


class RayTrainLauncher:
    """Inside a Ray Train V2 worker."""

    def __init__(self) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()

    def latest_checkpoint(self) -> Path | None:
        """Ray's newest registered checkpoint, copied to this node."""
        import ray.train

        checkpoint = ray.train.get_checkpoint()
        return Path(checkpoint.to_directory()) if checkpoint else None

    def report(self, metrics: Mapping[str, float], checkpoint: Path | None) -> None:
        """Register with the controller; the checkpoint is copied to the run's storage."""
        import ray.train

        kept = ray.train.Checkpoint.from_directory(checkpoint) if checkpoint else None
        ray.train.report(dict(metrics), checkpoint=kept)


class SingleProcessLauncher:
    """No launcher at all: one worker in this process, checkpoints kept in a directory."""

    def __init__(self, checkpoints: Path | None = None, *, device: str = "cpu") -> None:
        self.rank = 0
        self.world_size = 1
        self.device = torch.device(device)
        self.reports: list[dict[str, float]] = []
        self._checkpoints = checkpoints

    def latest_checkpoint(self) -> Path | None:
        """The newest directory kept by `report`."""
        if self._checkpoints is None:
            return None
        return max(self._checkpoints.glob("checkpoint_*"), default=None)

    def report(self, metrics: Mapping[str, float], checkpoint: Path | None) -> None:
        """Remember the metrics; keep the checkpoint by renaming it."""
        self.reports.append(dict(metrics))
        if checkpoint is not None and self._checkpoints is not None:
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            number = len(list(self._checkpoints.glob("checkpoint_*")))
            checkpoint.rename(self._checkpoints / f"checkpoint_{number:06d}")


@contextmanager
def checkpoint_directory(*, wanted: bool) -> Iterator[Path | None]:
    """A temporary directory to save into, removed afterwards; None on ranks that do not save."""
    if not wanted:
        yield None
        return
    with tempfile.TemporaryDirectory(
        prefix="raymi-checkpoint-", ignore_cleanup_errors=True
    ) as path:
        yield Path(path) / "checkpoint"
