"""The training loop each worker runs; start reading here.

Plain PyTorch: it asks its launcher for rank and device, and knows nothing else about Ray. What
one step does is `stepper.py`. Every so many steps the workers meet: they look at the health of
the run, save, and leave if one of them was asked to.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from raymi.data.version import Split
from raymi.errors import TrainingError
from raymi.train.checkpoint_store import CheckpointStore
from raymi.train.checkpoint_writer import persist
from raymi.train.council import Council
from raymi.train.failure import CONSEQUENCES, Reason
from raymi.train.health_watch import HealthWatch
from raymi.train.interruption import Cause, LeaveNote, cause_to_leave, training
from raymi.train.launcher import Launcher
from raymi.train.pace import Pace
from raymi.train.plan import TrainPlan
from raymi.train.precision import set_matmul_mode
from raymi.train.record import RunRecord
from raymi.train.row_choice import open_rows
from raymi.train.row_scores import score_rows
from raymi.train.scoring import Scorer
from raymi.train.stepper import Stepper
from raymi.train.throughput import Stopwatch, peak_memory_gib, synchronizer, warmup_steps

_CAUSES: tuple[Cause | None, ...] = (None, *Cause)
_REASONS: tuple[Reason | None, ...] = (None, *Reason)


class Ending(StrEnum):
    """How a worker returned."""

    FINISHED = "finished"
    LEFT = "left"
    """Saved and asked to leave: the run can go on from here."""


def train_worker(plan: TrainPlan, launcher: Launcher) -> Ending:
    """Train from the newest checkpoint to the end; rank 0 writes model and outcome.

    Raises:
        TrainingError: The run is going wrong, or cannot be saved; with a reason.
        IntegrityError: A shard is damaged, or a checkpoint belongs to another spec.
    """
    torch.set_num_threads(plan.spec.resources.cpus_per_worker)
    if launcher.device.type == "cuda":
        # Collectives and kernels of libraries go to the current device, not to the launcher's.
        torch.cuda.set_device(launcher.device)
    set_matmul_mode(plan.spec.precision)
    worker = Worker(plan, launcher)
    try:
        with training():
            return worker.run()
    finally:
        worker.close()


class Worker:
    """One rank of a run."""

    def __init__(self, plan: TrainPlan, launcher: Launcher) -> None:
        self.plan = plan
        self.spec = plan.spec
        self.launcher = launcher
        self.device = launcher.device
        self.is_chief = launcher.rank == 0
        self.rows = open_rows(plan, rank=launcher.rank, num_workers=launcher.world_size)
        self.total_steps = self.rows.steps_per_epoch * self.spec.epochs
        if self.spec.max_steps is not None:
            self.total_steps = min(self.total_steps, self.spec.max_steps)
        self.record = RunRecord(plan, launcher, total_steps=self.total_steps)
        self.stepper = Stepper(
            plan,
            device=self.device,
            rank=launcher.rank,
            world_size=launcher.world_size,
            total_steps=self.total_steps,
        )
        self.state = self.stepper.state
        self.scorer = self._scorer(Split.VALIDATION)
        self.council = Council(launcher.world_size, self.device)
        self.health = HealthWatch(self.spec.health)
        self.note = LeaveNote(Path(plan.run_dir))
        self.losses: list[tuple[Tensor, float]] = []
        self.asked_to_leave = False
        self.epoch_loss = (0.0, 0.0)

    def run(self) -> Ending:
        """Train every remaining epoch."""
        self._resume()
        self.record.flops(self.scorer.rows)
        if self.state.step == 0:
            self.record.parity(self.rows)
        self.stepper.wrap()
        self.stopwatch = Stopwatch(
            warmup_steps=warmup_steps(self.total_steps - self.state.step),
            synchronize=synchronizer(self.device),
        )
        self.pace = Pace(
            self.spec.checkpoint,
            total_steps=self.total_steps,
            start=self.state.step,
            elapsed_s=self.state.elapsed_s,
            report_interval_s=self.plan.report_interval_s,
        )
        self.record.attempt(self.state.step, num_rows=self.rows.num_rows)
        metrics: dict[str, float] = {}
        while self.state.step < self.total_steps:
            ended = self._run_epoch(self.state.step // self.rows.steps_per_epoch)
            if ended is None:
                return Ending.LEFT
            metrics = ended
        # A run that died after its last checkpoint but before its outcome has nothing to train.
        self._finish(metrics or self._validate())
        return Ending.FINISHED

    def close(self) -> None:
        """Let go of readers, threads and instruments."""
        self.rows.close()
        self.record.close()

    def _resume(self) -> None:
        """Go back to the newest good checkpoint; the chief picks it for everybody."""
        store = CheckpointStore(Path(self.plan.run_dir), keep=self.spec.checkpoint.keep)
        found = None
        if self.is_chief:
            patience_s = self.spec.checkpoint.storage_patience_s
            found = persist(lambda: store.load_newest(self.record.skipped), patience_s)
        chosen = self.council.largest([found[1]["step"] if found else 0])[0]
        if chosen == 0:
            return
        if found is None:
            found = store.load(chosen)
        self.state.restore(found[1], fingerprint=self.spec.fingerprint())
        if self.is_chief:
            # It holds every worker's share, and is added to theirs when the epoch ends.
            self.epoch_loss = self.state.epoch_loss

    def _run_epoch(self, epoch: int) -> dict[str, float] | None:
        """Train to the end of an epoch, or of the run; None if the workers leave before."""
        steps_per_epoch = self.rows.steps_per_epoch
        end = min((epoch + 1) * steps_per_epoch, self.total_steps)
        self.stepper.network.module.train()
        self.stopwatch.resume()
        cause: Cause | None = None
        began = time.perf_counter()
        for step in self.rows.steps(epoch, self.state.step % steps_per_epoch):
            fetched = time.perf_counter()
            loss_sum, num_elements = self.stepper.step(step)
            self.state.step += 1
            # Read at the next meeting: reading it now would wait for an accelerator.
            self.losses.append((loss_sum, num_elements / self.launcher.world_size))
            self.stopwatch.count(step.num_rows)
            ended = time.perf_counter()
            self.council.count(ended - began)
            self.record.step(
                duration_s=ended - began,
                data_wait_s=fetched - began,
                num_rows=step.num_rows,
                num_elements=num_elements,
            )
            self.asked_to_leave |= self.launcher.interrupted()
            is_last = self.state.step == end
            saves = self.pace.is_step_checkpoint_due(self.state.step)
            if is_last or saves or self._is_meeting_due():
                cause = self._meet(epoch, is_last=is_last)
                if is_last:
                    break
                if cause is not None:
                    self._leave(cause)
                    return None
                if saves:
                    self._save()
            began = time.perf_counter()
        metrics = self._end_epoch(epoch)
        # Not before the epoch is judged: nobody would do it later.
        if cause is not None and self.state.step < self.total_steps:
            self._leave(cause)
            return None
        return metrics

    def _meet(self, epoch: int, *, is_last: bool) -> Cause | None:
        """Look at the run together, and say why to leave, if anybody has to.

        Raises:
            TrainingError: The run is going wrong, or cannot be saved.
        """
        reason = self._diagnose()
        cause = Cause.PREEMPTED if self.asked_to_leave else cause_to_leave(self.note)
        wishes = [_REASONS.index(reason), _CAUSES.index(cause)]
        agreed, leave = self.council.meet(self.state.step, wishes, is_chief=self.is_chief)
        if (found := _REASONS[agreed]) is not None:
            raise _failure(found, self.state.step)
        self.record.check()
        if not is_last and self.is_chief and self.pace.is_progress_due():
            self._log("progress", epoch=epoch + 1, loss=_mean(self.epoch_loss))
        return _CAUSES[leave]

    def _is_meeting_due(self) -> bool:
        """The same on every worker: gradients, and so bad steps, are."""
        if self.launcher.world_size == 1 and self.asked_to_leave:
            return True
        is_bad = self.stepper.num_bad_steps >= self.spec.health.max_bad_steps
        return is_bad or self.council.is_due(self.state.step)

    def _diagnose(self) -> Reason | None:
        """What this worker's losses since the last meeting say."""
        sums = (
            torch.stack([loss_sum for loss_sum, _ in self.losses]).tolist() if self.losses else []
        )
        counts = [count for _, count in self.losses]
        self.losses.clear()
        self.epoch_loss = (self.epoch_loss[0] + sum(sums), self.epoch_loss[1] + sum(counts))
        scaler = self.state.scaler
        return self.health.observe(
            [loss_sum / count for loss_sum, count in zip(sums, counts, strict=True)],
            num_bad_steps=self.stepper.num_bad_steps,
            loss_scale=scaler.get_scale() if scaler.is_enabled() else None,
        )

    def _save(self, *, waits: bool = False) -> None:
        """Copy the state and go on; the copy is written in the background.

        Raises:
            TrainingError: An earlier one could not be written, and patience has ended.
        """
        self.stopwatch.pause()
        snapshot = self.state.snapshot(
            fingerprint=self.spec.fingerprint(),
            elapsed_s=self.pace.elapsed_s(),
            epoch_loss=self._epoch_loss(),
        )
        self.record.save(self.state.step, snapshot, waits=waits)
        self.pace.saved()
        self.stopwatch.resume()

    def _leave(self, cause: Cause) -> None:
        self._save(waits=True)
        self.record.log("left", step=self.state.step, cause=cause.value)

    def _end_epoch(self, epoch: int) -> dict[str, float]:
        """Validate, and save or report if it is time."""
        self.stopwatch.pause()
        loss = _mean(self._epoch_loss())
        self.epoch_loss = (0.0, 0.0)
        metrics = self._validate()
        num_samples = self._num_samples()
        self._log("epoch", epoch=epoch + 1, num_samples=num_samples, train_loss=loss, **metrics)
        step = self.state.step
        saves, reports = self.council.largest(
            [
                self.is_chief and self.pace.is_epoch_checkpoint_due(step),
                self.is_chief and self.pace.is_report_due(step),
            ]
        )
        if saves:
            self._save()
        if saves or reports:
            cost = {"accelerator_s": self.pace.elapsed_s() * self.launcher.world_size}
            self.launcher.report({"epoch": epoch + 1, **cost, **metrics})
            self.pace.reported()
        return metrics

    def _validate(self) -> dict[str, float]:
        """Metrics of the weights that would be kept now."""
        with self._kept_weights() as model:
            return self.scorer.score(model, self.device)

    @contextmanager
    def _kept_weights(self) -> Iterator[nn.Module]:
        """The model with the weights that would be kept now, ready to be judged."""
        # The bare model: ranks may differ in their number of passes.
        model = self.state.model
        model.eval()
        if self.state.average is None:
            yield model
            return
        with self.state.average.applied():
            yield model
            self.stepper.network.forget_gathered()

    def _score_rows(self, split: Split) -> None:
        scorer = self.scorer if split is self.scorer.split else self._scorer(split)
        with self._kept_weights() as model:
            scores = score_rows(scorer, model, self.device)
        self.record.row_scores(split, scores)

    def _scorer(self, split: Split) -> Scorer:
        return Scorer(
            self.plan,
            self.stepper.inputs,
            split,
            rank=self.launcher.rank,
            world_size=self.launcher.world_size,
        )

    def _finish(self, metrics: dict[str, float]) -> None:
        for split in self.plan.row_scores:
            self._score_rows(split)
        noise = self.stepper.noise_scale()
        if noise is not None:
            self.record.log("noise_scale", **asdict(noise))
        weights = self.state.weights()
        memory = torch.tensor(peak_memory_gib(self.device), device=self.device)
        if self.launcher.world_size > 1:
            dist.all_reduce(memory, op=dist.ReduceOp.MAX)
        self.record.finish(
            weights,
            metrics,
            samples_per_s=self.stopwatch.samples_per_s,
            duration_s=self.pace.elapsed_s(),
            num_steps=self.state.step,
            peak_gib=memory.item(),
        )

    def _epoch_loss(self) -> tuple[float, float]:
        """Loss sum and count of the epoch so far, over all workers."""
        if self.launcher.world_size == 1:
            return self.epoch_loss
        total = torch.tensor(self.epoch_loss, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        loss_sum, count = total.tolist()
        return loss_sum, count

    def _num_samples(self) -> int:
        """Training rows seen so far; the last step of an epoch may hold fewer than others."""
        epochs, steps = divmod(self.state.step, self.rows.steps_per_epoch)
        return epochs * self.rows.num_rows + steps * self.spec.batch.global_batch_size

    def _log(self, kind: str, **fields: float) -> None:
        self.record.log(
            kind,
            num_epochs=self.spec.epochs,
            step=self.state.step,
            total_steps=self.total_steps,
            samples_per_s=round(self.stopwatch.samples_per_s, 1),
            eta_s=round(self.pace.eta_s(self.state.step), 1),
            **fields,
            **self.record.live(),
        )


def _mean(sums: tuple[float, float]) -> float:
    return sums[0] / max(sums[1], 1.0)


def _failure(reason: Reason, step: int) -> TrainingError:
    return TrainingError(
        "training diverged",
        reason=reason.value,
        why=f"{CONSEQUENCES[reason].sentence}, at step {step}",
        fix=CONSEQUENCES[reason].fix,
    )
