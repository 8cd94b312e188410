"""How a plan gets its teacher: a function of whoever may open the registry."""

from __future__ import annotations

from collections.abc import Callable

from raymi.train.plan import TrainPlan

Teach = Callable[[TrainPlan], TrainPlan]
"""Ask the teacher about every training row once, and put the answers into the plan.

Training itself is below the registry, so the driver hands this in.
"""
