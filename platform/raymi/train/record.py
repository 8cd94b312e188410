"""Everything one worker writes down about its run: events, checkpoints, telemetry, the result.

The first worker, the chief, writes for all; the others only their own telemetry.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raymi.accelerators.catalog import Accelerator, find
from raymi.accelerators.environment import machine_index, recorded_environment
from raymi.accelerators.inventory import DeviceFacts, describe_device
from raymi.accelerators.meters.choice import open_meter
from raymi.accelerators.rates import rate
from raymi.data.preprocessing import NextByteTarget
from raymi.data.version import Split
from raymi.models.catalog import build_model
from raymi.specs.distillation import DistillationSpec
from raymi.specs.precision import Precision
from raymi.train.batch import Batch, RowSource
from raymi.train.checkpoint import write_tensors
from raymi.train.checkpoint_store import CheckpointStore
from raymi.train.checkpoint_writer import CheckpointWriter, persist
from raymi.train.criterion import Criterion
from raymi.train.evaluation_rows import EvaluationRows
from raymi.train.events import EVENTS_FILE, EventLog
from raymi.train.failure import Reason
from raymi.train.flops import flops_per_sample
from raymi.train.inputs import DeviceInputs
from raymi.train.launcher import Launcher
from raymi.train.matmul_rate import measured_tflops
from raymi.train.outcome import MODEL_FILE, OUTCOME_FILE, Outcome
from raymi.train.parity import probe
from raymi.train.plan import TrainPlan
from raymi.train.row_scores import save_row_scores
from raymi.train.state import seed_everything
from raymi.train.telemetry import TelemetryRecorder, rank_file
from raymi.train.throughput import peak_memory_gib, warmup_steps


class RunRecord:
    """One worker's pen."""

    def __init__(self, plan: TrainPlan, launcher: Launcher, *, total_steps: int) -> None:
        self._plan = plan
        self._launcher = launcher
        self._total_steps = total_steps
        self._run_dir = Path(plan.run_dir)
        self._accelerator = find(plan.accelerator)
        self._is_chief = launcher.rank == 0
        self._device_number = _device_number(self._accelerator, launcher)
        self._events = EventLog(self._run_dir / EVENTS_FILE)
        self._counts_tokens = isinstance(plan.preprocessing.target, NextByteTarget)
        self._telemetry = TelemetryRecorder(
            open_meter(self._accelerator, index=self._device_number),
            warmup_steps=warmup_steps(total_steps),
        )
        self._writer = self._open_writer() if self._is_chief else None
        self._flops_per_sample: float | None = None

    def log(self, kind: str, **fields: Any) -> None:
        """Write an event; only the chief's are kept."""
        if self._is_chief:
            self._events.append(kind, **fields)

    def attempt(self, step: int, *, num_rows: int) -> None:
        """Training begins, or goes on, after `step` steps."""
        self._telemetry.start()
        self.log(
            "attempt",
            step=step,
            total_steps=self._total_steps,
            num_workers=self._launcher.world_size,
            micro_batch_size=self._plan.micro_batch_size,
            samples_per_epoch=num_rows,
            device=self._device().model_dump(mode="json", exclude_none=True),
            environment=recorded_environment(os.environ),
        )

    def flops(self, rows: EvaluationRows) -> None:
        """Count the operations of one row, on the chief, with tensors that have no memory.

        Validation rows, because they are at hand whatever way the training rows come.
        """
        if self._is_chief:
            # Its own share, which it will score and so has to open anyway.
            num_workers = self._launcher.world_size
            batches = rows.batches(0, num_workers, self._plan.micro_batch_size)
            self._flops_per_sample = next(
                (_flops_per_sample(self._plan, batch) for batch in batches), None
            )

    def skipped(self, path: Path, why: str) -> None:
        """A damaged checkpoint was passed over."""
        self.log("checkpoint_skipped", path=str(path), why=why)

    def step(
        self, *, duration_s: float, data_wait_s: float, num_rows: int, num_elements: float
    ) -> None:
        """One optimizer step is done."""
        self._telemetry.step(
            duration_s=duration_s,
            data_wait_s=data_wait_s,
            num_samples=num_rows,
            num_tokens=int(num_elements) if self._counts_tokens else 0,
        )

    def live(self) -> dict[str, float]:
        """Numbers for a progress line."""
        return self._telemetry.live() if self._is_chief else {}

    def save(self, step: int, snapshot: dict[str, Any], *, waits: bool) -> None:
        """Have a copied state written; `waits` until it is safe.

        Raises:
            TrainingError: This or an earlier one cannot be written, and patience has ended.
        """
        if self._writer is None:
            return
        self._writer.submit(step, snapshot, waits=waits)
        if waits:
            self._writer.drain()

    def check(self) -> None:
        """Notice failing storage without waiting.

        Raises:
            TrainingError: As `save`.
        """
        if self._writer is not None:
            self._writer.check()

    def parity(self, rows: RowSource) -> None:
        """Compare the first steps with an fp32 twin, on the chief alone, and write it down."""
        spec = self._plan.spec
        num_steps = spec.health.parity_steps
        if not self._is_chief or num_steps == 0 or spec.precision is Precision.FP32:
            return
        seed_everything(spec.seed)
        report = probe(
            model=build_model(self._plan.architecture, self._plan.preprocessing),
            spec=spec,
            accelerator=self._accelerator,
            device=self._launcher.device,
            steps=first_batches(rows, num_steps),
            forward_loss=_mean_loss(
                self._plan, self._launcher.device, distillation=spec.distillation
            ),
        )
        self.log("parity", **report.model_dump(mode="json"))

    def row_scores(self, split: Split, scores: dict[str, np.ndarray]) -> None:
        """Write down what the final weights got right and wrong, on the chief.

        Raises:
            TrainingError: It cannot be written, and patience has ended.
        """
        if self._is_chief:
            patience_s = self._plan.spec.checkpoint.storage_patience_s
            persist(lambda: save_row_scores(self._run_dir, split, scores), patience_s)

    def finish(
        self,
        weights: dict[str, Tensor],
        metrics: Mapping[str, float],
        *,
        samples_per_s: float,
        duration_s: float,
        num_steps: int,
        peak_gib: float,
    ) -> None:
        """Write the final weights and the outcome; all earlier checkpoints are safe first.

        Raises:
            TrainingError: They cannot be written, and patience has ended.
        """
        patience_s = self._plan.spec.checkpoint.storage_patience_s
        own = self._telemetry.rank_telemetry(
            rank=self._launcher.rank,
            peak_memory_gib=peak_memory_gib(self._launcher.device),
            device=self._device(),
            flops_per_sample=self._flops_per_sample,
        )
        persist(lambda: own.save(rank_file(self._run_dir, self._launcher.rank)), patience_s)
        if self._writer is None:
            return
        self._writer.drain()
        outcome = Outcome(
            metrics=dict(metrics),
            samples_per_s=samples_per_s,
            peak_memory_gib=peak_gib,
            duration_s=duration_s,
            num_steps=num_steps,
            measured_tflops=self._measured_tflops(),
        )
        persist(lambda: self._save_weights(weights), patience_s)
        persist(lambda: outcome.save(self._run_dir / OUTCOME_FILE), patience_s)
        self.log("finished", **outcome.model_dump(mode="json"))

    def close(self) -> None:
        """End the writer and the meter."""
        if self._writer is not None:
            self._writer.close()
        self._telemetry.close()

    def _measured_tflops(self) -> float | None:
        precision = self._plan.spec.precision
        if rate(self._accelerator, precision) is not None:
            return None
        return measured_tflops(precision, self._launcher.device)

    def _device(self) -> DeviceFacts:
        return describe_device(self._accelerator, index=self._device_number)

    def _save_weights(self, weights: dict[str, Tensor]) -> None:
        temporary = self._run_dir / f".{MODEL_FILE}"
        write_tensors(weights, temporary)
        temporary.rename(self._run_dir / MODEL_FILE)

    def _open_writer(self) -> CheckpointWriter:
        spec = self._plan.spec.checkpoint
        return CheckpointWriter(
            CheckpointStore(self._run_dir, keep=spec.keep),
            patience_s=spec.storage_patience_s,
            published=lambda step: self.log("checkpoint", step=step),
            trouble=self._say_trouble,
        )

    def _say_trouble(self, reason: Reason, why: str) -> None:
        self.log("storage_trouble", reason=reason.value, why=why)


def _device_number(accelerator: Accelerator, launcher: Launcher) -> int:
    """Of this worker's device among all of the machine, which is what instruments count by."""
    if launcher.device.index is None:
        return launcher.local_rank
    number = machine_index(accelerator, launcher.device.index, os.environ)
    return launcher.local_rank if number is None else number


def _flops_per_sample(plan: TrainPlan, batch: Batch) -> float | None:
    device = torch.device("meta")
    mean_loss = _mean_loss(plan, device, distillation=None)

    def forward_backward() -> None:
        with device:
            model = build_model(plan.architecture, plan.preprocessing)
        torch.autograd.backward(mean_loss(model, batch))

    try:
        return flops_per_sample(forward_backward, len(batch.weights))
    except Exception:  # noqa: BLE001 - a network that looks at its numbers trains all the same
        return None


def _mean_loss(
    plan: TrainPlan, device: torch.device, *, distillation: DistillationSpec | None
) -> Callable[[nn.Module, Batch], Tensor]:
    """Mean loss of one micro-batch by itself."""
    inputs = DeviceInputs(plan.preprocessing, device)
    criterion = Criterion(plan.preprocessing.target, distillation, device)

    def mean_loss(network: nn.Module, batch: Batch) -> Tensor:
        num_elements = max(criterion.num_elements([batch]), 1.0)
        return criterion.loss_sum(network(inputs(batch.arrays)), batch) / num_elements

    return mean_loss


def first_batches(rows: RowSource, count: int) -> list[Batch]:
    """Copies of the first micro-batch of the first steps of a run."""
    steps = rows.steps(0, 0)
    return [_copy(step.batches[0]) for step in itertools.islice(steps, count)]


def _copy(batch: Batch) -> Batch:
    soft = batch.soft_targets
    return Batch(
        arrays={name: array.clone() for name, array in batch.arrays.items()},
        targets=batch.targets.clone(),
        weights=batch.weights.clone(),
        soft_targets=soft.clone() if soft is not None else None,
    )
