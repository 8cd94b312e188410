"""The update rule, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from raymi.specs.optimizer import OptimizerName, OptimizerSpec, ScheduleShape, ScheduleSpec


def build_optimizer(model: nn.Module, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """AdamW or SGD, with weight decay on matrices only.

    Biases, norms and other vectors are excluded: shrinking them regularises nothing.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if spec.name is OptimizerName.SGD:
        return torch.optim.SGD(groups, lr=spec.learning_rate, momentum=spec.momentum)
    return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=(spec.momentum, 0.999))


def learning_rate(
    step: int, *, total_steps: int, optimizer: OptimizerSpec, schedule: ScheduleSpec
) -> float:
    """The rate used by optimizer step `step`, counted from 0.

    Linear from zero over the warm-up; then constant, or a half cosine down to
    `final_fraction` of the peak at the last step.
    """
    peak = optimizer.learning_rate
    warmup_steps = math.ceil(schedule.warmup_fraction * total_steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule.shape is ScheduleShape.CONSTANT:
        return peak
    progress = (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return peak * (schedule.final_fraction + (1.0 - schedule.final_fraction) * cosine)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use one rate for every parameter."""
    for group in optimizer.param_groups:
        group["lr"] = rate
