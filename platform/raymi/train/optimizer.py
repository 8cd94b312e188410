"""The update rule, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from raymi.specs.optimizer import OptimizerName, OptimizerSpec, ScheduleShape, ScheduleSpec
from raymi.specs.precision import Precision
from raymi.train.rounding import RoundedAdamW, RoundedSGD

_TORCH_RULES: dict[OptimizerName, type[torch.optim.Optimizer]] = {
    OptimizerName.ADAMW: torch.optim.AdamW,
    OptimizerName.SGD: torch.optim.SGD,
}


def build_optimizer(
    model: nn.Module,
    spec: OptimizerSpec,
    *,
    precision: Precision,
    device: torch.device,
    seed: int,
) -> torch.optim.Optimizer:
    """AdamW or SGD, with weight decay on matrices only.

    Biases, norms and other vectors are excluded: shrinking them regularises nothing. Weights in
    bf16 get an optimizer that keeps small updates; it rounds as `seed` says. All others get
    torch's own, fused into one kernel where the device has one.
    """
    groups = _groups(model, spec.weight_decay)
    betas = (spec.momentum, spec.beta2)
    if precision is Precision.BF16_PURE:
        if spec.name is OptimizerName.SGD:
            return RoundedSGD(
                groups,
                lr=spec.learning_rate,
                momentum=spec.momentum,
                rounding=spec.rounding,
                seed=seed,
            )
        return RoundedAdamW(
            groups, lr=spec.learning_rate, betas=betas, rounding=spec.rounding, seed=seed
        )
    rule = _TORCH_RULES[spec.name]
    options: dict[str, Any] = (
        {"momentum": spec.momentum} if spec.name is OptimizerName.SGD else {"betas": betas}
    )
    is_sharded = any(isinstance(p, DTensor) for group in groups for p in group["params"])
    fused = can_fuse(rule, device, is_sharded=is_sharded)
    return rule(groups, lr=spec.learning_rate, fused=fused, **options)  # type: ignore[call-arg]


def can_fuse(rule: type[torch.optim.Optimizer], device: torch.device, *, is_sharded: bool) -> bool:
    """Whether `fused=True` works there, found out by one step of one number.

    Torch keeps its list of devices to itself and changes it. It has no fused SGD for sharded
    parameters (torch 2.13: `aten._fused_sgd_` has no sharding strategy).
    """
    if is_sharded and rule is torch.optim.SGD:
        return False
    number = nn.Parameter(torch.zeros(1, device=device))
    number.grad = torch.zeros_like(number)
    try:
        rule([number], lr=0.0, fused=True).step()  # type: ignore[call-arg]
    except (RuntimeError, NotImplementedError):
        return False
    return True


def learning_rate(
    step: int, *, total_steps: int, optimizer: OptimizerSpec, schedule: ScheduleSpec
) -> float:
    """The rate used by optimizer step `step`, counted from 0.

    Linear from zero over the warm-up, whose last step has the peak. Then it stays there, or falls
    to `final_fraction` of the peak at the last step: along a half cosine, along a line, or, for
    `stable_decay`, along a line over the last `decay_fraction` of all steps.
    """
    peak = optimizer.learning_rate
    warmup_steps = math.ceil(schedule.warmup_fraction * total_steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule.shape is ScheduleShape.CONSTANT:
        return peak
    last = total_steps - 1
    # The last step with the peak; the warm-up ends on one, so a single step after it can fall.
    top = max(0, min(warmup_steps, last - 1))
    if schedule.shape is ScheduleShape.STABLE_DECAY:
        top = max(top, last - math.ceil(schedule.decay_fraction * total_steps))
    progress = min(1.0, max(0.0, (step - top) / max(1, last - top)))
    height = 1.0 - progress
    if schedule.shape is ScheduleShape.COSINE:
        height = 0.5 * (1.0 + math.cos(math.pi * progress))
    return peak * (schedule.final_fraction + (1.0 - schedule.final_fraction) * height)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use one rate for every parameter."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
