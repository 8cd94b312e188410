"""One training run, complete: submitting the saved spec again reproduces the run."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from raymi.specs.base import Spec
from raymi.specs.batch import BatchSpec
from raymi.specs.data import DataSpec, Name
from raymi.specs.precision import Precision
from raymi.specs.resources import ResourceSpec


class OptimizerName(StrEnum):
    """Update rules."""

    ADAMW = "adamw"
    SGD = "sgd"


class OptimizerSpec(Spec):
    """How weights are updated from gradients."""

    name: OptimizerName = OptimizerName.ADAMW
    """The update rule."""

    learning_rate: PositiveFloat = 1e-3
    """Step size at the top of the schedule."""

    weight_decay: float = Field(default=0.01, ge=0.0)
    """Decoupled weight decay, on matrices only: biases and norms are left alone."""

    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """SGD's momentum, AdamW's first beta."""

    max_gradient_norm: PositiveFloat | None = 1.0
    """Gradients are scaled down to this global norm; unset: never."""


class ScheduleShape(StrEnum):
    """What the learning rate does after warm-up."""

    COSINE = "cosine"
    CONSTANT = "constant"


class ScheduleSpec(Spec):
    """The learning rate over the run, as a pure function of the optimizer step."""

    shape: ScheduleShape = ScheduleShape.COSINE
    """The curve after warm-up."""

    warmup_fraction: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of all steps over which the rate rises linearly from zero."""

    final_fraction: float = Field(default=0.01, ge=0.0, le=1.0)
    """The cosine's last value, relative to the peak."""


class CheckpointSpec(Spec):
    """When a run writes down everything it needs to go on."""

    every_steps: PositiveInt | None = None
    """Optimizer steps between checkpoints; unset: at the end of each epoch."""

    keep: PositiveInt = 2
    """Newest checkpoints that are not deleted."""

    max_failures: NonNegativeInt = 3
    """Worker losses survived by going back to the newest checkpoint."""


class TrainSpec(Spec):
    """One training run."""

    kind: Literal["train"] = "train"
    """Tells specs apart."""

    name: Name
    """The model this run makes versions of."""

    problem: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
    """Python module that defines `problem`, such as `jobs.digits.problem`."""

    data: DataSpec
    """What to learn from: a whole DataSpec, or only the name of an imported dataset."""

    precision: Precision = Precision.FP32
    """Arithmetic of the forward and backward pass."""

    batch: BatchSpec
    """Batch sizes."""

    resources: ResourceSpec = ResourceSpec()
    """The worker group."""

    optimizer: OptimizerSpec = OptimizerSpec()
    """The update rule."""

    schedule: ScheduleSpec = ScheduleSpec()
    """The learning rate over time."""

    checkpoint: CheckpointSpec = CheckpointSpec()
    """When to save, what to keep, how often to try again."""

    epochs: PositiveInt = 1
    """Passes over the training rows."""

    seed: NonNegativeInt = 0
    """Decides initial weights, row order and dropout; nothing else is random."""

    model: dict[str, JsonValue] = Field(default={})
    """Arguments for the problem's architecture, over the problem's own defaults."""

    @classmethod
    def expand(cls, document: Any) -> Any:
        """`data: digits` means the imported dataset of that name."""
        if isinstance(document, dict) and isinstance(document.get("data"), str):
            return document | {"data": {"name": document["data"]}}
        return document

    @model_validator(mode="after")
    def _batch_divides_evenly(self) -> Self:
        self.batch.accumulation_steps(self.resources.num_workers)
        return self
