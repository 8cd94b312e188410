"""One network with its optimizer on one worker, ready to be stepped at any micro-batch."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from raymi.specs.train import TrainSpec
from raymi.sweep.probe.synthetic import SyntheticRows
from raymi.train.batch import Step
from raymi.train.plan import TrainPlan
from raymi.train.precision import compute_context, set_matmul_mode
from raymi.train.stepper import Stepper
from raymi.train.throughput import synchronizer

_STILL = 1e-12
"""A learning rate at which weights stay as they are. Hundreds of real steps on the same few rows
would end in gradients of zero, or in numbers that are none, and both take another time."""

_MOST_REPEATS = 50
_FEWEST_REPEATS = 3


class Rig:
    """What is timed: the very code that trains, on random rows.

    Attributes:
        plan: The run of any of its settings.
    """

    def __init__(
        self,
        plan: TrainPlan,
        *,
        device: torch.device,
        rank: int = 0,
        num_workers: int = 1,
        group: dist.ProcessGroup | None = None,
        compiles: bool = True,
    ) -> None:
        """Build it; all workers that share it do so together.

        Args:
            plan: The run of any of its settings.
            device: Where.
            rank: Of this worker.
            num_workers: That share a step.
            group: Those, if there are others.
            compiles: Whether to compile, if the run does.
        """
        self.plan = plan
        self._precision = plan.spec.precision
        self._device = device
        self._num_workers = num_workers
        set_matmul_mode(self._precision)
        self._stepper = Stepper(
            _standing_still(plan, compiles=compiles),
            device=device,
            rank=rank,
            world_size=num_workers,
            total_steps=1,
            group=group,
        )
        self._stepper.wrap()
        self._rows = SyntheticRows(
            plan, seed=plan.spec.seed + rank, is_pinned=device.type == "cuda"
        )
        self._steps: dict[tuple[int, int], Step] = {}
        self._synchronize = synchronizer(device)

    @property
    def model(self) -> nn.Module:
        """The bare network."""
        return self._stepper.state.model

    def prepare(self, *, micro_batch_size: int, num_passes: int) -> Step:
        """The rows of a step; made once."""
        key = (micro_batch_size, num_passes)
        if key not in self._steps:
            self._steps[key] = self._rows.step(
                micro_batch_size=micro_batch_size,
                num_passes=num_passes,
                num_workers=self._num_workers,
            )
        return self._steps[key]

    def run(self, *, micro_batch_size: int, num_passes: int, num_steps: int) -> float:
        """Do some optimizer steps; seconds, with the device's work done."""
        step = self.prepare(micro_batch_size=micro_batch_size, num_passes=num_passes)
        set_matmul_mode(self._precision)
        self._stepper.network.module.train()
        self._synchronize()
        began = time.perf_counter()
        for _ in range(num_steps):
            self._stepper.step(step)
        self._synchronize()
        return time.perf_counter() - began

    @torch.inference_mode()
    def latency_s(self, num_rows: int, *, budget_s: float) -> float:
        """Median time of one forward pass, as in serving; at least three, after one more.

        Args:
            num_rows: Rows of the pass.
            budget_s: When to stop repeating.
        """
        model = self.model.eval()
        batch = self._rows.batch(num_rows)
        set_matmul_mode(self._precision)
        taken: list[float] = []
        ends_at = time.perf_counter() + budget_s
        while len(taken) <= _FEWEST_REPEATS or (
            len(taken) <= _MOST_REPEATS and time.perf_counter() < ends_at
        ):
            self._synchronize()
            began = time.perf_counter()
            with compute_context(self._precision, self._device):
                model(self._stepper.inputs(batch.arrays))
            self._synchronize()
            taken.append(time.perf_counter() - began)
        return statistics.median(taken[1:])


def _standing_still(plan: TrainPlan, *, compiles: bool) -> TrainPlan:
    document: dict[str, Any] = plan.spec.to_document()
    document["optimizer"]["learning_rate"] = _STILL
    document["schedule"]["warmup_fraction"] = 0.0
    document["parallelism"]["compile"] &= compiles
    return plan.model_copy(update={"spec": TrainSpec.from_document(document)})
