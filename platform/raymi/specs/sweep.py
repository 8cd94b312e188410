"""A search: one complete TrainSpec plus the paths into it that vary."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, PositiveFloat, PositiveInt, model_validator

from raymi.specs.base import Spec
from raymi.specs.budget import BudgetSpec
from raymi.specs.optimizer import OptimizerName
from raymi.specs.paths import assign, require_field
from raymi.specs.probe import ProbeSpec
from raymi.specs.quality import QualitySpec
from raymi.specs.resources import WorkerRange
from raymi.specs.train import TrainSpec

GLOBAL_BATCH = "batch.global_batch_size"
MICRO_BATCH = "batch.micro_batch_size"
LEARNING_RATE = "optimizer.learning_rate"
AUTO = "auto"


class Objective(StrEnum):
    """What the winner is best at, among the settings that meet every constraint."""

    SAMPLES_PER_S = "samples_per_s"
    COST_TO_TARGET = "cost_to_target"
    """Accelerator-seconds until the validation metric reaches `quality.target`."""

    ENERGY = "energy"
    """Joules of one whole run."""

    MONEY = "money"
    """Price of one whole run."""

    QUALITY = "quality"
    PEAK_MEMORY_GIB = "peak_memory_gib"


class BatchMode(StrEnum):
    """What happens to learning when batch sizes vary; written on every result."""

    FIXED = "fixed"
    """The global batch stays: quality must not move, only speed and memory do."""

    SCALED = "scaled"
    """The global batch varies, and the learning rate follows it by a rule."""

    RETUNED = "retuned"
    """The global batch and the learning rate both vary."""


class LearningRateRule(StrEnum):
    """How the learning rate follows the global batch."""

    LINEAR = "linear"
    """In proportion; for SGD (Goyal et al., arXiv 1706.02677)."""

    SQUARE_ROOT = "square_root"
    """With its root; for Adam (Malladi et al., arXiv 2205.10287)."""


class ConstraintSpec(Spec):
    """What a setting must satisfy before its objective counts."""

    max_quality_loss: float = Field(default=0.01, gt=0.0)
    """The margin: how much worse than the reference (`train`) a setting may be. Points of
    accuracy; a share of rmse and loss."""

    min_quality: float | None = None
    """The primary metric may not be worse than this: a floor for accuracy, else a ceiling."""

    max_peak_memory_gib: PositiveFloat | None = None
    """Peak memory of a worker."""

    max_latency_ms: PositiveFloat | None = None
    """One forward pass of one row, without transport."""


class SweepSpec(Spec):
    """A search over settings of one training run."""

    kind: Literal["sweep"] = "sweep"
    """Tells specs apart."""

    train: TrainSpec
    """The reference: what would be done without a sweep; each setting is this with some fields
    replaced, and may be worse by `constraints.max_quality_loss` at most."""

    space: dict[str, tuple[JsonValue, ...] | Literal["auto"]] = Field(min_length=1)
    """Path into `train` -> values to try; every combination is one setting. `auto` is for
    `batch.micro_batch_size`: every size that divides the global batch."""

    batch_mode: BatchMode = BatchMode.FIXED
    """What happens to learning when batch sizes vary."""

    learning_rate_rule: LearningRateRule | None = None
    """`batch_mode: scaled` only; unset: `square_root` for AdamW, `linear` for SGD."""

    objective: Objective = Objective.SAMPLES_PER_S
    """What to be best at."""

    constraints: ConstraintSpec = ConstraintSpec()
    """What must hold first."""

    budget: BudgetSpec = BudgetSpec()
    """What may be spent."""

    probe: ProbeSpec = ProbeSpec()
    """How settings are timed."""

    quality: QualitySpec = QualitySpec()
    """How much is trained."""

    prices: dict[str, PositiveFloat] = Field(default={})
    """Accelerator (or `cpu`) -> price of one worker for one hour; over the built-in list."""

    max_concurrent_trials: PositiveInt | None = None
    """Upper bound on training runs at a time; unset: as many as fit."""

    @model_validator(mode="after")
    def _every_combination_is_a_run(self) -> Self:
        for path, values in self.space.items():
            require_field(TrainSpec, path)
            if values == AUTO and path != MICRO_BATCH:
                raise ValueError(f"space.{path}: `auto` is for {MICRO_BATCH}; list the values")
            if not values:
                raise ValueError(f"space.{path} has no values to try")
        for trial in self.trials():
            if isinstance(trial.resources.num_workers, WorkerRange):
                raise ValueError(
                    "a sweep compares fixed numbers of workers: give resources.num_workers one "
                    "number, or several in the space"
                )
        return self

    @model_validator(mode="after")
    def _batches_vary_as_the_mode_says(self) -> Self:
        varies = GLOBAL_BATCH in self.space
        if self.batch_mode is BatchMode.FIXED and varies:
            raise ValueError(
                f"space.{GLOBAL_BATCH} changes what is learned: say `batch_mode: scaled` "
                "(the learning rate follows by a rule) or `batch_mode: retuned` (it is swept too)"
            )
        if self.batch_mode is not BatchMode.FIXED and not varies:
            raise ValueError(
                f"batch_mode: {self.batch_mode.value} needs values in space.{GLOBAL_BATCH}"
            )
        if self.batch_mode is BatchMode.RETUNED and LEARNING_RATE not in self.space:
            raise ValueError(f"batch_mode: retuned needs values in space.{LEARNING_RATE}")
        if self.batch_mode is BatchMode.SCALED and LEARNING_RATE in self.space:
            raise ValueError(
                f"batch_mode: scaled computes {LEARNING_RATE}; remove it from the space, or say "
                "`batch_mode: retuned`"
            )
        if self.batch_mode is not BatchMode.SCALED and self.learning_rate_rule is not None:
            raise ValueError("learning_rate_rule is for `batch_mode: scaled`")
        return self

    @classmethod
    def expand(cls, document: Any) -> Any:
        """The reference run may use a run's shorthands."""
        if isinstance(document, dict) and "train" in document:
            return document | {"train": TrainSpec.expand(document["train"])}
        return document

    @property
    def rule(self) -> LearningRateRule | None:
        """How the learning rate follows the global batch; None if it does not."""
        if self.batch_mode is not BatchMode.SCALED:
            return None
        is_sgd = self.train.optimizer.name is OptimizerName.SGD
        default = LearningRateRule.LINEAR if is_sgd else LearningRateRule.SQUARE_ROOT
        return self.learning_rate_rule or default

    def combinations(self) -> Iterator[dict[str, JsonValue]]:
        """Every point of the space, in the order of the file; the last path varies fastest."""
        listed = {path: values for path, values in self.space.items() if values != AUTO}
        for values in itertools.product(*listed.values()):
            point = dict(zip(listed, values, strict=True))
            if len(listed) == len(self.space):
                yield point
                continue
            for size in self._micro_batches(point):
                yield point | {MICRO_BATCH: size}

    def trial(self, point: dict[str, JsonValue]) -> TrainSpec:
        """Return the complete, resubmittable run at one point.

        Raises:
            ValueError: The combination is not a valid run.
        """
        document: dict[str, Any] = self.train.to_document()
        for path, value in point.items():
            assign(document, path, value)
        if self.rule is not None:
            ratio = document["batch"]["global_batch_size"] / self.train.batch.global_batch_size
            power = 1.0 if self.rule is LearningRateRule.LINEAR else 0.5
            rate = self.train.optimizer.learning_rate * ratio**power
            assign(document, LEARNING_RATE, rate)
        return TrainSpec.from_document(document)

    def trials(self) -> Iterator[TrainSpec]:
        """Every run the sweep may start."""
        for point in self.combinations():
            yield self.trial(point)

    def _micro_batches(self, point: dict[str, JsonValue]) -> list[int]:
        """Every size that cuts the global batch of a point evenly."""
        document: dict[str, Any] = self.train.to_document()
        for path, value in point.items():
            assign(document, path, value)
        # One sample at a time fits every batch, so that only the rest can be wrong.
        assign(document, MICRO_BATCH, 1)
        workers = TrainSpec.from_document(document).resources.max_workers
        share = document["batch"]["global_batch_size"] // workers
        return [size for size in range(1, share + 1) if share % size == 0]
