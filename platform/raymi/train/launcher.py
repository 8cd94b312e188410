"""Who started this worker: Ray Train, torchrun or nobody, and what the loop asks of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

import torch
import torch.distributed as dist


class Launcher(Protocol):
    """What the loop needs to know about its surroundings."""

    rank: int
    """0 is the chief: it writes checkpoints, events and the result."""

    local_rank: int
    """Among the workers of this node; also the number of its device there."""

    world_size: int
    device: torch.device

    def interrupted(self) -> bool:
        """Whether this worker should save and leave; asked between any two steps, so cheap."""

    def report(self, metrics: Mapping[str, float]) -> None:
        """Hand metrics to whoever watches; every rank calls this the same number of times."""


class RayTrainLauncher:
    """Inside a Ray Train V2 worker."""

    def __init__(self) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.local_rank: int = context.get_local_rank()
        self.world_size: int = context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()

    def interrupted(self) -> bool:
        """Never by Ray: its own word of a draining node is a collective, too slow between steps.

        SIGTERM, which such a node gets, is enough.
        """
        return False

    def report(self, metrics: Mapping[str, float]) -> None:
        """Register with the controller."""
        import ray.train

        ray.train.report(dict(metrics))


class TorchrunLauncher:
    """Inside a process that `torchrun` started."""

    def __init__(self, *, backend: str) -> None:
        """Join the process group that the environment describes.

        Args:
            backend: `gloo`, or `nccl` (on ROCm: RCCL).
        """
        self.rank = int(os.environ["RANK"])
        self.local_rank = int(os.environ["LOCAL_RANK"])
        self.world_size = int(os.environ["WORLD_SIZE"])
        self.device = torch.device("cpu")
        if backend == "nccl":
            self.device = torch.device("cuda", self.local_rank)
            torch.cuda.set_device(self.device)
        if not dist.is_initialized():
            dist.init_process_group(backend)

    def interrupted(self) -> bool:
        """Never by torchrun itself: it passes SIGTERM on."""
        return False

    def report(self, metrics: Mapping[str, float]) -> None:
        """Nobody watches."""


class SingleProcessLauncher:
    """No launcher at all: one worker in this process."""

    def __init__(self, *, device: str = "cpu", stop_after_steps: int | None = None) -> None:
        """Be the only worker.

        Args:
            device: Where to train.
            stop_after_steps: Ask to leave after this many steps; unset: never.
        """
        self.rank = 0
        self.local_rank = 0
        self.world_size = 1
        self.device = torch.device(device)
        self.reports: list[dict[str, float]] = []
        self._stop_after_steps = stop_after_steps
        self._num_asked = 0

    def interrupted(self) -> bool:
        """Whether the wanted number of steps is done."""
        self._num_asked += 1
        return self._num_asked == self._stop_after_steps

    def report(self, metrics: Mapping[str, float]) -> None:
        """Remember the metrics."""
        self.reports.append(dict(metrics))
