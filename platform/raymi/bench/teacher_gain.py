"""Whether a teacher helps: the same student with and without it, seed by seed, on test rows.

A pair has the same seed, so the same initial weights, rows in the same order and the same
number of steps; what is left is the teacher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from raymi.errors import SpecError
from raymi.evaluate import stage as evaluate_stage
from raymi.specs.train import TrainSpec
from raymi.train.in_process import open_plan, train
from raymi.train.plan import TrainPlan
from raymi.train.teaching import Teach, taught

T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
)  # fmt: skip
"""97.5% quantiles of Student's t distribution with 1, 2, ... 29 degrees of freedom."""

MIN_SEEDS = 3
MAX_SEEDS = len(T_975) + 1


@dataclass(frozen=True, slots=True)
class Pair:
    """The primary metric on the test rows, twice."""

    seed: int
    alone: float
    taught: float


@dataclass(frozen=True, slots=True)
class TeacherGain:
    """What a teacher is worth to one student."""

    teacher: str
    """`NAME@VERSION`."""

    metric: str
    """The primary metric."""

    higher_is_better: bool
    """Of that metric."""

    pairs: tuple[Pair, ...]
    """One for each seed."""

    @property
    def gains(self) -> list[float]:
        """How much better the taught student is, pair by pair, in the metric's unit."""
        sign = 1.0 if self.higher_is_better else -1.0
        return [sign * (pair.taught - pair.alone) for pair in self.pairs]

    def to_document(self) -> dict[str, Any]:
        """For JSON."""
        gain, low, high = mean_interval(self.gains)
        return {
            "teacher": self.teacher,
            "metric": self.metric,
            "pairs": [
                {"seed": pair.seed, "alone": pair.alone, "taught": pair.taught}
                for pair in self.pairs
            ],
            "gain": {"mean": gain, "low": low, "high": high},
        }


def measure(
    spec: TrainSpec,
    *,
    num_seeds: int,
    store_dir: Path,
    teach: Teach,
    say: Callable[[str], None],
) -> TeacherGain:
    """Train the student twice for each seed, in this process, and judge it on the test rows.

    Args:
        spec: The student, with `distillation`; its seed is the first.
        num_seeds: Pairs to train.
        store_dir: Where datasets and runs are; the runs stay there.
        teach: Asks the teacher, once for all runs.
        say: Receives a line after each pair.

    Raises:
        SpecError: There is no teacher, or too few or too many seeds.
        TrainingError: A run failed.
    """
    if spec.distillation is None:
        raise SpecError(
            "bench teacher: a student without a teacher",
            why="the spec has no `distillation`",
            fix="for example `distillation: {teacher: NAME@champion}`",
        )
    if not MIN_SEEDS <= num_seeds <= MAX_SEEDS:
        raise SpecError(
            f"bench teacher: {num_seeds} seeds",
            why="fewer give no interval, and the table for it ends there",
            fix=f"from {MIN_SEEDS} to {MAX_SEEDS}",
        )
    plans = taught(_plans(spec, num_seeds, store_dir), teach)
    learner = plans[0].teacher
    pairs: list[Pair] = []
    metric = ""
    for with_teacher, without in zip(plans[::2], plans[1::2], strict=True):
        metric, found = _judge(with_teacher, store_dir)
        _, alone = _judge(without, store_dir)
        pairs.append(Pair(with_teacher.spec.seed, alone=alone, taught=found))
        say(f"seed {pairs[-1].seed}: {metric} {alone:.4f} alone, {found:.4f} with its teacher")
    return TeacherGain(
        teacher=f"{learner.name}@{learner.version}" if learner else spec.distillation.teacher,
        metric=metric,
        higher_is_better=metric == "accuracy",
        pairs=tuple(pairs),
    )


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of independent values with its 95% interval: (mean, low, high).

    Student, "The probable error of a mean", Biometrika 6 (1908). Takes 2 to 30 values.
    """
    centre = mean(values)
    reach = T_975[len(values) - 2] * stdev(values) / math.sqrt(len(values))
    return centre, centre - reach, centre + reach


def _plans(spec: TrainSpec, num_seeds: int, store_dir: Path) -> list[TrainPlan]:
    """With and without the teacher, in turns."""
    specs = [
        spec.model_copy(update={"seed": spec.seed + index, **change})
        for index in range(num_seeds)
        for change in ({}, {"distillation": None})
    ]
    return [open_plan(one, store_dir=store_dir) for one in specs]


def _judge(plan: TrainPlan, store_dir: Path) -> tuple[str, float]:
    evaluation = evaluate_stage.run(train(plan), store_dir=store_dir)
    return evaluation.primary_metric, evaluation.metrics[evaluation.primary_metric]
