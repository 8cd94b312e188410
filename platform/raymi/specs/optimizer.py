"""How weights follow from gradients: the update rule, and the learning rate over the run."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, PositiveFloat

from raymi.specs.base import Spec


class OptimizerName(StrEnum):
    """Update rules."""

    ADAMW = "adamw"
    SGD = "sgd"


class Rounding(StrEnum):
    """How a bf16 weight keeps an update smaller than its last bit."""

    KAHAN = "kahan"
    STOCHASTIC = "stochastic"


class OptimizerSpec(Spec):
    """How weights are updated from gradients."""

    name: OptimizerName = OptimizerName.ADAMW
    """The update rule; fused into one kernel where the device has one."""

    learning_rate: PositiveFloat = 1e-3
    """Step size at the top of the schedule."""

    weight_decay: float = Field(default=0.01, ge=0.0)
    """Decoupled weight decay, on matrices only: biases and norms are left alone."""

    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """SGD's momentum, AdamW's first beta."""

    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    """AdamW's second beta; SGD ignores it."""

    max_gradient_norm: PositiveFloat | None = 1.0
    """Gradients are scaled down to this global norm; unset: never."""

    rounding: Rounding = Rounding.KAHAN
    """`bf16_pure` only: a compensation term per weight, or random rounding in proportion."""

    ema_decay: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Average the weights with this decay per step; the average is validated and kept."""


class ScheduleShape(StrEnum):
    """What the learning rate does after warm-up."""

    COSINE = "cosine"
    LINEAR = "linear"
    CONSTANT = "constant"
    STABLE_DECAY = "stable_decay"


class ScheduleSpec(Spec):
    """The learning rate over the run, as a pure function of the optimizer step."""

    shape: ScheduleShape = ScheduleShape.COSINE
    """The curve after warm-up; `stable_decay` is constant, then linear over the last part."""

    warmup_fraction: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of all steps over which the rate rises linearly from zero."""

    decay_fraction: float = Field(default=0.2, gt=0.0, le=1.0)
    """`stable_decay` only: share of all steps over which the rate falls."""

    final_fraction: float = Field(default=0.01, ge=0.0, le=1.0)
    """The last value of a falling curve, relative to the peak."""
