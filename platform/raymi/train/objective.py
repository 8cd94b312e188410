"""Loss and metrics of a task, element by element, and as sums that can be added over ranks.

An element is what one answer is about: a row for classification and regression, a byte of a
row for `next_byte`. Elements that do not count (padding, a row's last byte) have weight 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from raymi.data.encoding import IGNORED
from raymi.data.preprocessing import ClassTarget, NextByteTarget, NumberTarget, Target
from raymi.errors import SpecError


def element_losses(outputs: Tensor, targets: Tensor, target: Target) -> Tensor:
    """Loss of each element, float32.

    Args:
        outputs: (N, num_outputs), for `next_byte` (N, L, 256).
        targets: (N,), for `next_byte` (N, L) with `IGNORED` where nothing is to be predicted.
        target: What is being predicted.

    Returns:
        Cross-entropy in nats, (N,); squared error of the standardised target, (N,);
        cross-entropy of each byte, (N, L), 0 where `IGNORED`.
    """
    if isinstance(target, NumberTarget):
        return (outputs.float().squeeze(1) - targets).square()
    losses = functional.cross_entropy(
        outputs.float().flatten(0, -2),
        targets.long().flatten(),
        reduction="none",
        ignore_index=IGNORED,
    )
    return losses.view(targets.shape)


def element_scores(outputs: Tensor, targets: Tensor, target: Target) -> Tensor:
    """What the task's second metric averages, in the shape of `element_losses`, float32.

    1 for the right class or byte and 0 for a wrong one, or the squared error.
    """
    if isinstance(target, NumberTarget):
        return element_losses(outputs, targets, target)
    return (outputs.argmax(dim=-1) == targets).float()


def element_weights(targets: Tensor, row_weights: Tensor, target: Target) -> Tensor:
    """How much each element counts: its row's weight (N,), or 0; in the shape of `targets`."""
    if isinstance(target, NextByteTarget):
        return (targets != IGNORED) * row_weights.unsqueeze(1)
    return row_weights


def teacher_losses(
    outputs: Tensor, soft_targets: Tensor, target: Target, *, temperature: float
) -> Tensor:
    """How far each row is from what a teacher says, (N,) float32.

    Classification: KL(teacher || student) of both softened by `temperature`, times its square,
    so that gradients keep their size (Hinton et al., arXiv 1503.02531, section 2). Regression:
    squared error of the standardised outputs.

    Args:
        outputs: The student's, (N, num_outputs); logits for classification.
        soft_targets: The teacher's, of the same shape and meaning.
        target: What is being predicted.
        temperature: Classification only; 1 compares the probabilities as they are.

    Raises:
        SpecError: The task has no teacher's loss.
    """
    if isinstance(target, NextByteTarget):
        raise SpecError(
            "distillation: a next_byte model cannot have a teacher",
            why="a teacher's answer for every byte of every row does not fit in memory",
            fix="remove `distillation` from the spec",
        )
    if isinstance(target, NumberTarget):
        return (outputs.float() - soft_targets.float()).squeeze(1).square()
    student = functional.log_softmax(outputs.float() / temperature, dim=1)
    teacher = functional.log_softmax(soft_targets.float() / temperature, dim=1)
    divergence = functional.kl_div(student, teacher, reduction="none", log_target=True)
    return divergence.sum(dim=1) * temperature**2


@dataclass(frozen=True, slots=True)
class Sums:
    """Additive parts of the metrics over some elements."""

    num_elements: float
    loss: float
    score: float

    def metrics(self, target: Target) -> dict[str, float]:
        """Means over all elements, in the target's own unit."""
        loss, score = self.loss / self.num_elements, self.score / self.num_elements
        match target:
            case NumberTarget(std=std):
                return {"loss": loss, "rmse": math.sqrt(score) * std}
            case ClassTarget():
                return {"loss": loss, "accuracy": score}
            case NextByteTarget():
                return {"loss": loss, "bits_per_byte": loss / math.log(2.0), "accuracy": score}


HIGHER_IS_BETTER = {"accuracy": True, "rmse": False, "loss": False}
"""Direction of each primary metric."""


def primary_metric(target: Target) -> str:
    """The metric that decides, by task: `accuracy`, `rmse`, or `loss` (nats per byte)."""
    match target:
        case ClassTarget():
            return "accuracy"
        case NumberTarget():
            return "rmse"
        case NextByteTarget():
            return "loss"


def sum_elements(losses: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
    """(3,) float64: weight sum, loss sum, score sum; ready for an all-reduce.

    The three arguments have one shape.
    """
    wide = weights.double()
    return torch.stack([wide.sum(), (losses * wide).sum(), (scores * wide).sum()])
