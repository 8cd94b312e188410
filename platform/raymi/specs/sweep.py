"""A search: one complete TrainSpec plus the paths into it that vary."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, PositiveFloat, PositiveInt, model_validator

from raymi.specs.base import Spec
from raymi.specs.paths import assign, require_field
from raymi.specs.train import TrainSpec


class Objective(StrEnum):
    """What the winner is best at, among the trials that meet every constraint."""

    SAMPLES_PER_S = "samples_per_s"
    QUALITY = "quality"
    PEAK_MEMORY_GIB = "peak_memory_gib"
    DURATION_S = "duration_s"


class ConstraintSpec(Spec):
    """What a trial must satisfy before its objective counts."""

    max_quality_loss: float = Field(default=0.01, ge=0.0)
    """How far below the best trial a trial may score: accuracy as it is, the rest relatively."""

    min_quality: float | None = None
    """The primary metric may not be worse than this: a floor for accuracy, else a ceiling."""

    max_peak_memory_gib: PositiveFloat | None = None
    """Peak memory of the largest worker."""


class SchedulerName(StrEnum):
    """Who decides that a trial is not worth finishing."""

    FIFO = "fifo"
    ASHA = "asha"


class SchedulerSpec(Spec):
    """Early stopping of trials."""

    name: SchedulerName = SchedulerName.FIFO
    """`fifo` trains every trial fully; `asha` halves asynchronously on validation quality."""

    grace_epochs: PositiveInt = 1
    """ASHA: epochs every trial is given."""

    reduction_factor: int = Field(default=3, ge=2)
    """ASHA: one trial in this many goes on at each rung."""


class SweepSpec(Spec):
    """A search over settings of one training run."""

    kind: Literal["sweep"] = "sweep"
    """Tells specs apart."""

    train: TrainSpec
    """The reference run; each trial is this with some fields replaced."""

    space: dict[str, tuple[JsonValue, ...]] = Field(min_length=1)
    """Path into `train` -> values to try; every combination is one trial."""

    objective: Objective = Objective.SAMPLES_PER_S
    """What to be best at."""

    constraints: ConstraintSpec = ConstraintSpec()
    """What must hold first."""

    tie_within: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Relative difference in the objective below which trials are equal; the safer one wins."""

    scheduler: SchedulerSpec = SchedulerSpec()
    """Who is stopped early."""

    max_concurrent_trials: PositiveInt | None = None
    """Upper bound; unset: as many as fit. Timings are clean only when trials do not overlap."""

    @model_validator(mode="after")
    def _every_combination_is_a_run(self) -> Self:
        for path, values in self.space.items():
            require_field(TrainSpec, path)
            if not values:
                raise ValueError(f"space.{path} has no values to try")
        for _ in self.trials():
            pass
        return self

    @classmethod
    def expand(cls, document: Any) -> Any:
        """The reference run may use a run's shorthands."""
        if isinstance(document, dict) and "train" in document:
            return document | {"train": TrainSpec.expand(document["train"])}
        return document

    def combinations(self) -> Iterator[dict[str, JsonValue]]:
        """Every point of the space, in the order of the file; the last path varies fastest."""
        for values in itertools.product(*self.space.values()):
            yield dict(zip(self.space, values, strict=True))

    def trial(self, point: dict[str, JsonValue]) -> TrainSpec:
        """Return the complete, resubmittable run at one point.

        Raises:
            ValueError: The combination is not a valid run.
        """
        document: dict[str, Any] = self.train.to_document()
        for path, value in point.items():
            assign(document, path, value)
        return TrainSpec.from_document(document)

    def trials(self) -> Iterator[TrainSpec]:
        """Every run the sweep may start."""
        for point in self.combinations():
            yield self.trial(point)
