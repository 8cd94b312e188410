"""What runs of a sweep are expected to cost, and how many of them its budget still pays for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raymi.sweep.allowance import Affordable, Left, RunCost, affordable
from raymi.sweep.decision.contest import enter
from raymi.sweep.evidence import Evidence, RunStatus
from raymi.sweep.ground import Ground
from raymi.sweep.monitor import Monitor
from raymi.sweep.setting import Setting

START_UP_S = 10.0
"""What starting a worker group is taken to cost in time, until a run has shown it."""


class Means:
    """Looks at the budget of the phase that a sweep is in."""

    def __init__(self, ground: Ground, monitor: Monitor) -> None:
        self._ground = ground
        self._monitor = monitor

    def cost(self, evidence: Evidence, setting: Setting) -> RunCost:
        """Of one run: what earlier runs of the setting cost, or what its probed speed says."""
        spent = [
            run.accelerator_s
            for run in evidence.runs
            if run.setting == setting.index and run.status is RunStatus.SUCCEEDED
        ]
        if spent:
            accelerator_s = math.fsum(spent) / len(spent)
            return RunCost(accelerator_s, accelerator_s / setting.num_workers)
        costs = next(one for one in enter(evidence).costs if one.setting == setting.index)
        wall_clock_s = (costs.accelerator_s or 0.0) / setting.num_workers + START_UP_S
        return RunCost(wall_clock_s * setting.num_workers, wall_clock_s)

    def expected_s(self, evidence: Evidence, settings: Sequence[Setting]) -> float:
        """Seconds by the clock that one run of each will take."""
        total_s = sum(self.cost(evidence, setting).wall_clock_s for setting in settings)
        return total_s / self._ground.num_concurrent(settings)

    def for_quality(
        self, evidence: Evidence, finalists: Sequence[Setting], reference: Setting
    ) -> Affordable:
        """How many finalists, the best first, with how many seeds."""
        return affordable(
            [self.cost(evidence, setting) for setting in finalists],
            self.cost(evidence, reference),
            num_seeds=self._ground.spec.quality.seeds,
            left=self._left(),
            num_concurrent=self._ground.num_concurrent([*finalists, reference]),
        )

    def pays(self, evidence: Evidence, settings: Sequence[Setting]) -> bool:
        """Whether one run of each can be paid."""
        return not settings or self._left().pays(
            [self.cost(evidence, setting) for setting in settings],
            num_concurrent=self._ground.num_concurrent(settings),
        )

    def _left(self) -> Left:
        spending = self._monitor.spending()
        return self._monitor.limits.left(
            accelerator_s=spending.accelerator_s, wall_clock_s=spending.wall_clock_s
        )
