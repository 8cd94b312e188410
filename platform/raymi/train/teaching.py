"""How plans get their teachers: through a function of whoever may open the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raymi.errors import SpecError
from raymi.train.plan import TrainPlan

Teach = Callable[[Sequence[TrainPlan]], list[TrainPlan]]
"""Ask each teacher about every training row once, and put the answers into the plans.

Training itself is below the registry, so the driver hands this in.
"""


def taught(plans: Sequence[TrainPlan], teach: Teach | None) -> list[TrainPlan]:
    """The plans, with the answers of their teachers if they have any.

    Raises:
        SpecError: There is a teacher, and nobody who could ask it; or it cannot teach this.
    """
    if all(plan.spec.distillation is None for plan in plans):
        return list(plans)
    if teach is None:
        raise SpecError(
            "distillation.teacher: cannot be asked from here",
            why="teachers are in the registry, and this caller has not opened it",
            fix="start the run with jobs/train.py or jobs/sweep.py, or pass `teach`",
        )
    return teach(plans)
