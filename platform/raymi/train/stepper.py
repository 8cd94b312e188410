"""Stepper: one worker's optimizer step, the same whether it is trained or only timed.

One step is

    this rank's micro-batches -> forward, backward each -> all-reduce with the last -> clip -> step

with the loss divided by all that counts in the whole global batch, so that neither the number
of workers nor the micro-batch size changes the gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from raymi.train.batch import Batch, Step
from raymi.train.criterion import Criterion
from raymi.train.inputs import DeviceInputs
from raymi.train.network import wrap
from raymi.train.noise_scale import NoiseMeter, NoiseScale, square
from raymi.train.optimizer import learning_rate, set_learning_rate
from raymi.train.order import num_passes
from raymi.train.plan import TrainPlan
from raymi.train.precision import compute_context
from raymi.train.state import build_state, seed_step


class StepLoss(NamedTuple):
    """What one step minimised."""

    loss_sum: Tensor
    """Over this worker's elements that count; a scalar on the device, nobody has waited for it."""

    num_elements: float
    """What the loss was divided by: all that counts in the global batch."""


class Stepper:
    """Model and optimizer of one worker, and one step of them.

    Attributes:
        state: What changes during a run.
        inputs: Rows to what the network reads.
        criterion: The loss.
        network: What is called, from `wrap` on.
        num_bad_steps: Newest steps in a row whose gradients were not finite, where they are
            looked at.
    """

    def __init__(
        self,
        plan: TrainPlan,
        *,
        device: torch.device,
        rank: int,
        world_size: int,
        total_steps: int,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        """Build everything untrained; restore `state` if there is a checkpoint, then `wrap`.

        Args:
            plan: What to train.
            device: Where.
            rank: Of this worker, from 0.
            world_size: Workers that share a step.
            total_steps: Of the run, which the learning rate follows.
            group: Those workers, if they are not all of the default group. One worker in a
                larger default group needs one only to be sharded by itself.

        Raises:
            SpecError: The network cannot be spread as asked.
            CapabilityError: It cannot be trained in this precision.
        """
        self.state = build_state(plan, device, world_size=world_size, group=group)
        self.inputs = DeviceInputs(plan.preprocessing, device)
        self.criterion = Criterion(plan.preprocessing.target, plan.spec.distillation, device)
        self.num_bad_steps = 0
        self._spec = plan.spec
        self._device = device
        self._rank = rank
        self._world_size = world_size
        self._total_steps = total_steps
        self._group = group
        self._num_passes = num_passes(plan, num_workers=world_size)
        self._noise = self._build_meter(plan)

    def wrap(self) -> None:
        """Compile and replicate; once, after the state was restored, and on all workers."""
        self.network = wrap(
            self.state.model,
            self._spec.parallelism,
            device=self._device,
            world_size=self._world_size,
            group=self._group,
        )

    def step(self, step: Step) -> StepLoss:
        """Do the optimizer step `state.step`, which the caller counts."""
        rate = learning_rate(
            self.state.step,
            total_steps=self._total_steps,
            optimizer=self._spec.optimizer,
            schedule=self._spec.schedule,
        )
        set_learning_rate(self.state.optimizer, rate)
        seed_step(self._spec.seed, self.state.step, self._rank, self._device)
        self.state.optimizer.zero_grad(set_to_none=True)
        num_elements = self._num_elements(step)
        loss_sum = torch.zeros((), device=self._device)
        noise = self._noise
        if noise is not None and not noise.starts(self.state.step, step.num_rows):
            noise = None
        if noise is not None and self._num_passes == 1:
            # With several micro-batches, the first is over before anything is averaged.
            noise.listen(self.state.model.parameters())
        for index, batch in enumerate(step.batches):
            is_last = index + 1 == len(step.batches)
            with self.network.synchronising(wanted=is_last):
                loss_sum += self._backward(batch, num_elements)
            if noise is not None and index == 0:
                self._measure(noise, batch, num_elements)
        self._update(noise)
        return StepLoss(loss_sum, num_elements)

    def noise_scale(self) -> NoiseScale | None:
        """What the steps so far say about noise, if they were measured; all workers call it."""
        if self._noise is None:
            return None
        return self._noise.result(world_size=self._world_size, group=self._group)

    def _backward(self, batch: Batch, num_elements: float) -> Tensor:
        with compute_context(self._spec.precision, self._device):
            outputs = self.network.module(self.inputs(batch.arrays))
        loss_sum = self.criterion.loss_sum(outputs, batch)
        # Data-parallel gradients are averaged over ranks; the mean is over the global batch.
        loss = loss_sum * (self._world_size / num_elements)
        torch.autograd.backward(self.state.scaler.scale(loss))
        return loss_sum.detach()

    def _num_elements(self, step: Step) -> float:
        """What the loss of a step is divided by: all that counts, over all workers."""
        if self.criterion.counts_rows:
            return float(step.num_rows)
        own = self.criterion.num_elements(step.batches)
        if self._world_size > 1:
            total = torch.tensor(own, dtype=torch.float64, device=self._device)
            dist.all_reduce(total, group=self._group)
            own = total.item()
        return max(own, 1.0)

    def _build_meter(self, plan: TrainPlan) -> NoiseMeter | None:
        """None where no gradient of fewer rows than all is ever whole."""
        has_parts = self._num_passes > 1 or self._world_size > 1
        if not plan.measures_noise or self.state.is_sharded or not has_parts:
            return None
        return NoiseMeter(global_batch_size=plan.spec.batch.global_batch_size, device=self._device)

    def _measure(self, noise: NoiseMeter, batch: Batch, num_elements: float) -> None:
        """Tell the meter about the first micro-batch, before the gradients of others are added."""
        own = self.criterion.num_elements([batch])
        # The scale of fp16's losses is on the device, and stays there.
        loss_scale = self.state.scaler.scale(torch.ones((), device=self._device))
        noise.small(
            None if self._num_passes == 1 else square(self._gradients()),
            num_rows=float(batch.weights.sum()) if own > 0 else 0.0,
            scale=num_elements / (self._world_size * max(own, 1.0)) / loss_scale,
        )

    def _gradients(self) -> list[Tensor]:
        parameters = self.state.model.parameters()
        return [parameter.grad for parameter in parameters if parameter.grad is not None]

    def _update(self, noise: NoiseMeter | None) -> None:
        """Clip and step; a step whose gradients are not finite is left out."""
        scaler, optimizer = self.state.scaler, self.state.optimizer
        max_norm = self._spec.optimizer.max_gradient_norm
        if max_norm is not None or noise is not None:
            scaler.unscale_(optimizer)
        if max_norm is None and noise is not None:
            noise.large(square(self._gradients()))
        if max_norm is not None:
            norm = nn.utils.clip_grad_norm_(self.state.model.parameters(), max_norm)
            if noise is not None:
                noise.large(norm.float().square())
            # On an accelerator looking would stall it; there the next meeting finds the damage.
            if self._device.type == "cpu" and not scaler.is_enabled():
                if not torch.isfinite(norm):
                    self.num_bad_steps += 1
                    return
                self.num_bad_steps = 0
        scaler.step(optimizer)
        scaler.update()
        if self.state.average is not None:
            self.state.average.update()
