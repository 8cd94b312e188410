"""What a step minimises: the labels' loss, or a mixture with what a teacher says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raymi.data.preprocessing import NextByteTarget, Target
from raymi.errors import SpecError
from raymi.specs.distillation import DistillationSpec
from raymi.train.batch import Batch
from raymi.train.objective import element_losses, element_weights, teacher_losses


class Criterion:
    """The loss of micro-batches as sums, so that they can be added over passes and workers."""

    def __init__(
        self, target: Target, distillation: DistillationSpec | None, device: torch.device
    ) -> None:
        self._target = target
        self._distillation = distillation
        self._device = device

    @property
    def counts_rows(self) -> bool:
        """Whether every row counts once, so that nobody has to count."""
        return not isinstance(self._target, NextByteTarget)

    def loss_sum(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Sum over the elements that count; a scalar with a gradient.

        Raises:
            SpecError: The run has a teacher, and the batch has no answers of it.
        """
        targets = batch.targets.to(self._device, non_blocking=True)
        row_weights = batch.weights.to(self._device, non_blocking=True)
        weights = element_weights(targets, row_weights, self._target)
        losses = element_losses(outputs, targets, self._target)
        total = (losses * weights).sum()
        if self._distillation is None:
            return total
        if batch.soft_targets is None:
            raise SpecError(
                "distillation: nobody has asked the teacher",
                why="the plan has no soft targets, and without them it would be another run",
                fix="start the run with jobs/train.py or jobs/sweep.py",
            )
        taught = teacher_losses(
            outputs,
            batch.soft_targets.to(self._device, non_blocking=True),
            self._target,
            temperature=self._distillation.temperature,
        )
        share = self._distillation.weight
        return (1.0 - share) * total + share * (taught * row_weights).sum()

    def num_elements(self, batches: Sequence[Batch]) -> float:
        """Elements of one worker's step that count: rows, or the bytes of a text."""
        return sum(
            float(element_weights(batch.targets, batch.weights, self._target).sum())
            for batch in batches
        )
