"""Loss and validation metrics of a task, as sums that can be added over ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from raymi.data.preprocessing import ClassTarget, NumberTarget, Target


def row_losses(outputs: Tensor, targets: Tensor, target: Target) -> Tensor:
    """Loss of each row, (N,): cross-entropy, or squared error of the standardised target."""
    if isinstance(target, ClassTarget):
        return functional.cross_entropy(outputs.float(), targets, reduction="none")
    return (outputs.float().squeeze(1) - targets).square()


def row_scores(outputs: Tensor, targets: Tensor, target: Target) -> Tensor:
    """What the primary metric averages, (N,): 1 for a correct class, or the squared error."""
    if isinstance(target, ClassTarget):
        return (outputs.argmax(dim=1) == targets).float()
    return (outputs.float().squeeze(1) - targets).square()


@dataclass(frozen=True, slots=True)
class Sums:
    """Additive parts of the metrics over some rows."""

    num_rows: float
    loss: float
    score: float

    def metrics(self, target: Target) -> dict[str, float]:
        """Means over all rows, in the target's own unit."""
        loss, score = self.loss / self.num_rows, self.score / self.num_rows
        if isinstance(target, NumberTarget):
            return {"loss": loss, "rmse": math.sqrt(score) * target.std}
        return {"loss": loss, "accuracy": score}


def primary_metric(target: Target) -> str:
    """The metric that decides, by task."""
    return "accuracy" if isinstance(target, ClassTarget) else "rmse"


def sum_rows(losses: Tensor, scores: Tensor) -> Tensor:
    """(3,) float64: row count, loss sum, score sum; ready for an all-reduce."""
    count = torch.tensor(float(len(losses)), dtype=torch.float64, device=losses.device)
    return torch.stack([count, losses.double().sum(), scores.double().sum()])
