"""One network with its optimizer on one worker, ready to be stepped at any micro-batch."""

from __future__ import annotations

import statistics
import time

import torch
import torch.distributed as dist

from raymi.sweep.probe.synthetic import SyntheticRows
from raymi.train.batch import Step
from raymi.train.plan import TrainPlan
from raymi.train.precision import compute_context, set_matmul_mode
from raymi.train.stepper import Stepper
from raymi.train.throughput import synchronizer

_ENDLESS = 1_000_000
"""Steps of the run that the learning rate follows; nobody gets there."""


class Rig:
    """What is timed: the very code that trains, on random rows."""

    def __init__(
        self,
        plan: TrainPlan,
        *,
        device: torch.device,
        rank: int,
        num_workers: int,
        group: dist.ProcessGroup | None,
    ) -> None:
        """Build it; all workers of the group do so together.

        Args:
            plan: The run of any of its settings.
            device: Where.
            rank: Of this worker.
            num_workers: That share a step.
            group: Those, if there are others.
        """
        self._plan = plan
        self._device = device
        self._num_workers = num_workers
        set_matmul_mode(plan.spec.precision)
        self._stepper = Stepper(
            plan,
            device=device,
            rank=rank,
            world_size=num_workers,
            total_steps=_ENDLESS,
            group=group,
        )
        self._stepper.wrap()
        self._rows = SyntheticRows(plan, seed=plan.spec.seed + rank)
        self._steps: dict[tuple[int, int], Step] = {}
        self._synchronize = synchronizer(device)

    @property
    def plan(self) -> TrainPlan:
        """The run it is of."""
        return self._plan

    def run(self, *, micro_batch_size: int, num_passes: int, num_steps: int) -> float:
        """Do some optimizer steps; seconds, with the device's work done."""
        key = (micro_batch_size, num_passes)
        if key not in self._steps:
            self._steps[key] = self._rows.step(
                micro_batch_size=micro_batch_size,
                num_passes=num_passes,
                num_workers=self._num_workers,
            )
        step = self._steps[key]
        set_matmul_mode(self._plan.spec.precision)
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
        model = self._stepper.state.model.eval()
        batch = self._rows.batch(num_rows)
        set_matmul_mode(self._plan.spec.precision)
        taken: list[float] = []
        ends_at = time.perf_counter() + budget_s
        while len(taken) < 4 or (time.perf_counter() < ends_at and len(taken) < 50):
            self._synchronize()
            began = time.perf_counter()
            with compute_context(self._plan.spec.precision, self._device):
                model(self._stepper.inputs(batch.arrays))
            self._synchronize()
            taken.append(time.perf_counter() - began)
        return statistics.median(taken[1:])
