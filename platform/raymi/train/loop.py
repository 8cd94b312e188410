"""The training loop each worker runs; start reading here.

Plain PyTorch: it asks its launcher for rank, device and the last checkpoint, and knows
nothing else about Ray. One optimizer step is

    rows of the step -> this rank's micro-batches -> forward, backward each -> all-reduce
    with the last -> clip -> step

with the loss divided by the rows of the whole global batch, so that neither the number of
workers nor the micro-batch size changes the gradient.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from raymi.data.loading import load_split
from raymi.data.preprocessing import Arrays
from raymi.data.version import Split
from raymi.errors import TrainingError
from raymi.train.events import EVENTS_FILE, EventLog
from raymi.train.launcher import Launcher, checkpoint_directory
from raymi.train.objective import Sums, row_losses, row_scores, sum_rows
from raymi.train.optimizer import learning_rate, set_learning_rate
from raymi.train.order import MicroBatch, RowOrder
from raymi.train.outcome import OUTCOME_FILE, Outcome
from raymi.train.pace import Pace
from raymi.train.plan import TrainPlan
from raymi.train.precision import MAX_SKIPPED_STEPS, compute_context, set_matmul_mode
from raymi.train.state import build_state, seed_step
from raymi.train.throughput import Stopwatch, peak_memory_gib, synchronizer, warmup_steps

MODEL_FILE = "model.safetensors"
VALIDATION_ROWS = 1024
"""Rows in one validation forward pass."""


def train_worker(plan: TrainPlan, launcher: Launcher) -> None:
    """Train from the newest checkpoint to the end; rank 0 writes model and outcome.

    Raises:
        TrainingError: The loss is not a number, or fp16 cannot find a scale that works.
        IntegrityError: A shard or the checkpoint is damaged.
    """
    torch.set_num_threads(plan.spec.resources.cpus_per_worker)
    set_matmul_mode(plan.spec.precision)
    Worker(plan, launcher).run()


class Worker:
    """One rank of a run."""

    def __init__(self, plan: TrainPlan, launcher: Launcher) -> None:
        self.plan = plan
        self.spec = plan.spec
        self.launcher = launcher
        self.device = launcher.device
        self.is_chief = launcher.rank == 0
        self.run_dir = Path(plan.run_dir)
        self.log = EventLog(self.run_dir / EVENTS_FILE)
        self.target = plan.preprocessing.target
        self.train_arrays, self.train_targets = self._load(Split.TRAIN)
        self.validation_arrays, self.validation_targets = self._load(Split.VALIDATION)
        self.order = RowOrder(
            num_rows=len(self.train_targets),
            global_batch_size=self.spec.batch.global_batch_size,
            micro_batch_size=self.spec.batch.micro_batch_size,
            num_workers=launcher.world_size,
            seed=self.spec.seed,
        )
        self.total_steps = self.order.steps_per_epoch * self.spec.epochs
        self.state = build_state(plan, self.device)
        self.skipped_steps = 0

    def run(self) -> None:
        """Train every remaining epoch."""
        if checkpoint := self.launcher.latest_checkpoint():
            self.state.restore(checkpoint, fingerprint=self.spec.fingerprint())
        self.network = self._distribute(self.state.model)
        remaining = self.total_steps - self.state.step
        self.stopwatch = Stopwatch(
            warmup_steps=warmup_steps(remaining), synchronize=synchronizer(self.device)
        )
        self.pace = Pace(
            self.spec.checkpoint,
            total_steps=self.total_steps,
            start=self.state.step,
            elapsed_s=self.state.elapsed_s,
            report_interval_s=self.plan.report_interval_s,
        )
        if self.is_chief:
            self.log.append(
                "attempt",
                step=self.state.step,
                total_steps=self.total_steps,
                num_workers=self.launcher.world_size,
                samples_per_epoch=self.order.num_rows,
            )
        metrics: dict[str, float] = {}
        first_epoch = self.state.step // self.order.steps_per_epoch
        for epoch in range(first_epoch, self.spec.epochs):
            metrics = self._run_epoch(epoch)
        # A run that died after its last checkpoint but before its outcome has nothing to train.
        self._finish(metrics or self._validate())

    def _run_epoch(self, epoch: int) -> dict[str, float]:
        permutation = self.order.epoch(epoch)
        first_step = self.state.step % self.order.steps_per_epoch
        self.network.train()
        self.stopwatch.resume()
        losses = torch.zeros(2, dtype=torch.float64, device=self.device)
        for step in range(first_step, self.order.steps_per_epoch):
            rows = self.order.step_rows(permutation, step)
            losses += self._step(rows)
            self.state.step += 1
            self.stopwatch.count(len(rows))
            ends_epoch = step + 1 == self.order.steps_per_epoch
            if not ends_epoch and self.pace.is_progress_due():
                self._log("progress", epoch=epoch + 1, loss=self._mean_loss(losses))
            if not ends_epoch and self.pace.is_step_checkpoint_due(self.state.step):
                self.stopwatch.pause()
                self._report({}, save=True)
                self.stopwatch.resume()
        self.stopwatch.pause()
        self._add_over_ranks(losses)
        loss = self._mean_loss(losses)
        metrics = self._validate()
        self._log("epoch", epoch=epoch + 1, train_loss=loss, **metrics)
        save = self._agreed(self.pace.is_epoch_checkpoint_due(self.state.step))
        if self._agreed(save or self.pace.is_report_due(self.state.step)):
            self._report({"epoch": epoch + 1, **metrics}, save=save)
        return metrics

    def _step(self, rows: np.ndarray) -> Tensor:
        """One optimizer step; returns this rank's (loss sum, row count), unsynchronised."""
        rate = learning_rate(
            self.state.step,
            total_steps=self.total_steps,
            optimizer=self.spec.optimizer,
            schedule=self.spec.schedule,
        )
        set_learning_rate(self.state.optimizer, rate)
        seed_step(self.spec.seed, self.state.step, self.launcher.rank)
        self.state.optimizer.zero_grad(set_to_none=True)
        micro_batches = list(self.order.micro_batches(rows, self.launcher.rank))
        losses = torch.zeros(2, dtype=torch.float64, device=self.device)
        for index, micro_batch in enumerate(micro_batches):
            is_last = index + 1 == len(micro_batches)
            with self._gradients_synchronised(wanted=is_last):
                loss_sum = self._backward(micro_batch, num_rows=len(rows))
            losses[0] += loss_sum
            losses[1] += float(micro_batch.weights.sum())
        self._apply_gradients()
        return losses

    def _backward(self, micro_batch: MicroBatch, *, num_rows: int) -> Tensor:
        inputs = self._inputs(self.train_arrays, micro_batch.rows)
        targets = torch.from_numpy(self.train_targets[micro_batch.rows]).to(self.device)
        weights = torch.from_numpy(micro_batch.weights).to(self.device)
        with compute_context(self.spec.precision, self.device):
            outputs = self.network(inputs)
        loss_sum = (row_losses(outputs, targets, self.target) * weights).sum()
        # Data-parallel gradients are averaged over ranks; the mean is over the global batch.
        loss = loss_sum * (self.launcher.world_size / num_rows)
        torch.autograd.backward(self.state.scaler.scale(loss))
        return loss_sum.detach()

    def _apply_gradients(self) -> None:
        scaler, optimizer = self.state.scaler, self.state.optimizer
        if self.spec.optimizer.max_gradient_norm is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(
                self.state.model.parameters(), self.spec.optimizer.max_gradient_norm
            )
        scale_before = scaler.get_scale() if scaler.is_enabled() else 1.0
        scaler.step(optimizer)
        scaler.update()
        if scaler.is_enabled():
            skipped = scaler.get_scale() < scale_before
            self.skipped_steps = self.skipped_steps + 1 if skipped else 0
            if self.skipped_steps > MAX_SKIPPED_STEPS:
                raise _diverged(f"{self.skipped_steps} fp16 steps in a row overflowed")

    @torch.inference_mode()
    def _validate(self) -> dict[str, float]:
        """Metrics over the validation rows; every rank scores its share."""
        self.network.eval()
        share = np.array_split(np.arange(len(self.validation_targets)), self.launcher.world_size)
        rows = share[self.launcher.rank]
        totals = torch.zeros(3, dtype=torch.float64, device=self.device)
        for first in range(0, len(rows), VALIDATION_ROWS):
            chosen = rows[first : first + VALIDATION_ROWS]
            inputs = self._inputs(self.validation_arrays, chosen)
            targets = torch.from_numpy(self.validation_targets[chosen]).to(self.device)
            with compute_context(self.spec.precision, self.device):
                # The bare model: ranks may differ in their number of passes.
                outputs = self.state.model(inputs)
            totals += sum_rows(
                row_losses(outputs, targets, self.target), row_scores(outputs, targets, self.target)
            )
        self._add_over_ranks(totals)
        return Sums(*totals.tolist()).metrics(self.target)

    def _report(self, metrics: dict[str, float], *, save: bool) -> None:
        with checkpoint_directory(wanted=save and self.is_chief) as directory:
            if directory is not None:
                self.state.save(
                    directory,
                    fingerprint=self.spec.fingerprint(),
                    elapsed_s=self.pace.elapsed_s(),
                )
            self.launcher.report(metrics, directory)
        self.pace.reported()
        if save:
            self.pace.saved()
            if self.is_chief:
                self.log.append("checkpoint", step=self.state.step)

    def _finish(self, metrics: dict[str, float]) -> None:
        memory = torch.tensor(peak_memory_gib(self.device), device=self.device)
        if self.launcher.world_size > 1:
            dist.all_reduce(memory, op=dist.ReduceOp.MAX)
        if not self.is_chief:
            return
        weights = {
            name: tensor.detach().cpu().contiguous().clone()
            for name, tensor in self.state.model.state_dict().items()
        }
        temporary = self.run_dir / f".{MODEL_FILE}"
        save_file(weights, temporary)
        temporary.rename(self.run_dir / MODEL_FILE)
        outcome = Outcome(
            metrics=metrics,
            samples_per_s=self.stopwatch.samples_per_s,
            peak_memory_gib=memory.item(),
            duration_s=self.pace.elapsed_s(),
            num_steps=self.state.step,
        )
        outcome.save(self.run_dir / OUTCOME_FILE)
        self.log.append("finished", **outcome.model_dump(mode="json"))

    def _load(self, split: Split) -> tuple[Arrays, np.ndarray]:
        table = load_split(Path(self.plan.dataset_dir), self.plan.dataset, split)
        preprocessing = self.plan.preprocessing
        return preprocessing.encode(table), preprocessing.encode_target(table)

    def _inputs(self, arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
        gathered = {name: array[rows] for name, array in arrays.items()}
        prepared = self.plan.preprocessing.prepare(gathered)
        return {name: torch.from_numpy(array).to(self.device) for name, array in prepared.items()}

    def _distribute(self, model: nn.Module) -> nn.Module:
        if self.launcher.world_size == 1:
            return model
        device_ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=device_ids, gradient_as_bucket_view=True)

    def _gradients_synchronised(self, *, wanted: bool) -> AbstractContextManager[None]:
        if wanted or not isinstance(self.network, DistributedDataParallel):
            return nullcontext()
        context: AbstractContextManager[None] = self.network.no_sync()
        return context

    def _agreed(self, flag: bool) -> bool:
        """Rank 0's answer, on every rank: clocks differ, collectives must not."""
        if self.launcher.world_size == 1:
            return flag
        message = torch.tensor(int(flag), device=self.device)
        dist.broadcast(message, src=0)
        return bool(message.item())

    def _add_over_ranks(self, totals: Tensor) -> None:
        if self.launcher.world_size > 1:
            dist.all_reduce(totals)

    def _mean_loss(self, losses: Tensor) -> float:
        """Mean over the rows so far in this epoch.

        Raises:
            TrainingError: It is not a number.
        """
        loss_sum, num_rows = losses.tolist()
        loss: float = loss_sum / max(num_rows, 1.0)
        if not math.isfinite(loss):
            raise _diverged(f"the loss at step {self.state.step} is {loss}")
        return loss

    def _log(self, kind: str, **fields: float) -> None:
        if self.is_chief:
            self.log.append(
                kind,
                num_epochs=self.spec.epochs,
                step=self.state.step,
                total_steps=self.total_steps,
                samples_per_s=round(self.stopwatch.samples_per_s, 1),
                eta_s=round(self.pace.eta_s(self.state.step), 1),
                **fields,
            )


def _diverged(why: str) -> TrainingError:
    return TrainingError(
        "training diverged",
        reason="diverged",
        why=why,
        fix="lower optimizer.learning_rate, or use a wider precision (bf16, fp32)",
    )
