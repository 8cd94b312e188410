"""One training run, complete: submitting the saved spec again reproduces the run."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt, model_validator

from raymi.specs.base import Spec
from raymi.specs.batch import BatchSpec
from raymi.specs.data import DataSpec, Name
from raymi.specs.distillation import DistillationSpec
from raymi.specs.health import HealthSpec
from raymi.specs.optimizer import OptimizerSpec, ScheduleSpec
from raymi.specs.parallelism import Compression, ParallelismSpec, Strategy
from raymi.specs.precision import Precision
from raymi.specs.resources import ResourceSpec
from raymi.specs.rows import RowsSpec


class CheckpointSpec(Spec):
    """When a run writes down everything it needs to go on."""

    every_steps: PositiveInt | None = None
    """Optimizer steps between checkpoints; unset: at the end of each epoch."""

    keep: PositiveInt = 2
    """Newest checkpoints that are not deleted."""

    max_failures: NonNegativeInt = 3
    """Failures of a kind that may pass survived by going back to the newest checkpoint."""

    storage_patience_s: float = Field(default=120.0, ge=0.0)
    """How long storage may be full or away before the run stops; training goes on meanwhile."""


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

    parallelism: ParallelismSpec = ParallelismSpec()
    """How the model is spread over it."""

    rows: RowsSpec = RowsSpec()
    """How rows reach the model."""

    optimizer: OptimizerSpec = OptimizerSpec()
    """The update rule."""

    schedule: ScheduleSpec = ScheduleSpec()
    """The learning rate over time."""

    checkpoint: CheckpointSpec = CheckpointSpec()
    """When to save, what to keep, how often to try again."""

    health: HealthSpec = HealthSpec()
    """What counts as going wrong."""

    distillation: DistillationSpec | None = None
    """A teacher to learn from, too."""

    epochs: PositiveInt = 1
    """Passes over the training rows."""

    max_steps: PositiveInt | None = None
    """Optimizer steps after which the run ends, if `epochs` would be more."""

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
        self.batch.accumulation_steps(self.resources.max_workers)
        return self

    @model_validator(mode="after")
    def _compression_has_a_hook(self) -> Self:
        parallelism = self.parallelism
        if (
            parallelism.strategy is Strategy.FSDP
            and parallelism.gradient_compression is not Compression.NONE
        ):
            raise ValueError(
                "parallelism.gradient_compression is for `strategy: ddp`; under fsdp gradients "
                "are reduced in the precision of the run"
            )
        return self
