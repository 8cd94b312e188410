"""Which of two settings is better at what was asked for, and when neither is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from raymi.significance.interval import Interval
from raymi.specs.precision import SAFEST_FIRST
from raymi.specs.sweep import Objective
from raymi.sweep.decision.case import Case
from raymi.sweep.decision.costs import list_costs
from raymi.sweep.decision.pairs import differ_in_quality
from raymi.sweep.decision.speed import Speeds, read_speeds
from raymi.sweep.evidence import Evidence
from raymi.sweep.verdicts import Costs

MEMORY_NOISE = 0.02
"""Relative difference below which two peaks of memory are equal."""

_FIELDS = {
    Objective.SAMPLES_PER_S: "samples_per_s",
    Objective.COST_TO_TARGET: "cost_to_target_s",
    Objective.ENERGY: "energy_j",
    Objective.MONEY: "money",
    Objective.QUALITY: "quality",
    Objective.PEAK_MEMORY_GIB: "peak_memory_gib",
}


@dataclass(frozen=True)
class Contest:
    """What was measured of every setting, and what is asked for."""

    case: Case
    speeds: Speeds
    costs: Sequence[Costs]

    @cached_property
    def objective(self) -> Objective:
        """What to be best at."""
        return self.case.spec.objective

    @property
    def more_is_better(self) -> bool:
        """The direction of the objective."""
        if self.objective is Objective.QUALITY:
            return self.case.evidence.higher_is_better
        return self.objective is Objective.SAMPLES_PER_S

    @property
    def sign(self) -> float:
        """1 where more is better, else -1."""
        return 1.0 if self.more_is_better else -1.0

    def value(self, setting: int) -> float | None:
        """The objective of a setting; None: not measured."""
        value: float | None = getattr(self.costs[setting], _FIELDS[self.objective])
        # Nothing costs nothing: an instrument that shows 0 has measured nothing.
        is_empty = value is not None and value <= 0.0 and self.objective is not Objective.QUALITY
        return None if is_empty else value

    def best(self, settings: Sequence[int]) -> int | None:
        """The best measured value; of equal ones the safest."""
        measured = {index: value for index in settings if (value := self.value(index)) is not None}
        return min(
            measured,
            key=lambda index: (-self.sign * measured[index], self.case.settings[index].safety),
            default=None,
        )

    def advantage(self, setting: int, other: int) -> Interval:
        """How many times as good a setting is as another, with a 95% interval; not for quality.

        Costs of a run are as uncertain as the speed that they are computed with.

        Raises:
            ValueError: One of them was not measured.
        """
        ours, theirs = self.value(setting), self.value(other)
        if ours is None or theirs is None:
            raise ValueError("an advantage over what was not measured")
        if self.objective is Objective.SAMPLES_PER_S:
            ratio = self.speeds.ratio(setting, other)
            if ratio is not None:
                return ratio
        if self.objective is Objective.PEAK_MEMORY_GIB:
            return Interval(theirs / ours, theirs / ours, theirs / ours)
        return self.speeds.cost_ratio(setting, other, theirs / ours)

    def is_tie(self, setting: int, other: int) -> bool:
        """Whether neither is better beyond noise; not for quality."""
        if setting == other:
            return True
        advantage = self.advantage(setting, other)
        if self.objective is Objective.PEAK_MEMORY_GIB:
            return abs(advantage.median - 1.0) <= MEMORY_NOISE
        return self.speeds.is_within_noise(advantage)

    def ties(self, settings: Sequence[int], best: int) -> list[int]:
        """Those that are as good as the best, itself included."""
        measured = [index for index in settings if self.value(index) is not None]
        if self.objective is not Objective.QUALITY:
            return [index for index in measured if self.is_tie(index, best)]
        numerics = {index: self.case.settings[index].numerics for index in measured}
        equal = {
            name
            for name in set(numerics.values())
            if not differ_in_quality(self.case, name, numerics[best])
        }
        return [index for index in measured if numerics[index] in equal]

    def first_choice(self, settings: Sequence[int]) -> int:
        """The one to prefer of those that equal the best, or of all where none was measured.

        Args:
            settings: At least one.
        """
        best = self.best(settings)
        return self.settle(settings if best is None else self.ties(settings, best))

    def settle(self, ties: Sequence[int]) -> int:
        """The one to prefer among equals: safer arithmetic, fewer workers, clearly cheaper, a
        smaller micro-batch, as the reference computes; in this order.

        Args:
            ties: At least one.
        """
        settings = self.case.settings
        precision = min(SAFEST_FIRST.index(settings[index].precision) for index in ties)
        left = [i for i in ties if SAFEST_FIRST.index(settings[i].precision) == precision]
        num_workers = min(settings[index].num_workers for index in left)
        left = [index for index in left if settings[index].num_workers == num_workers]
        left = self._without_dear_ones(left)
        ours = self.case.reference.numerics
        return min(
            left,
            key=lambda i: (settings[i].micro_batch_size, settings[i].numerics != ours, i),
        )

    def costs_alike(self, setting: int, other: int) -> bool:
        """Whether one run of each costs the same, as far as is known, within the noise."""
        ours, theirs = self.costs[setting].accelerator_s, self.costs[other].accelerator_s
        if setting == other or ours is None or theirs is None:
            return True
        return self.speeds.is_within_noise(self.speeds.cost_ratio(setting, other, theirs / ours))

    def _without_dear_ones(self, ties: Sequence[int]) -> list[int]:
        prices = {i: cost for i in ties if (cost := self.costs[i].accelerator_s) is not None}
        if not prices:
            return list(ties)
        cheapest = min(prices, key=lambda index: (prices[index], index))
        return [index for index in ties if index not in prices or self.costs_alike(cheapest, index)]


def enter(evidence: Evidence) -> Contest:
    """Work out what every setting costs."""
    case = Case(evidence)
    speeds = read_speeds(case)
    return Contest(case=case, speeds=speeds, costs=list_costs(case, speeds))
