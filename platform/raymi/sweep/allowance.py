"""What a sweep may still spend, and which runs it can afford: pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raymi.specs.budget import BudgetSpec


@dataclass(frozen=True, slots=True)
class RunCost:
    """What one training run is expected to cost."""

    accelerator_s: float
    wall_clock_s: float


@dataclass(frozen=True, slots=True)
class Left:
    """What may still be spent; None: no limit."""

    accelerator_s: float | None
    wall_clock_s: float | None

    def pays(self, runs: Sequence[RunCost], *, num_concurrent: int) -> bool:
        """Whether all runs can be paid, so many of them at a time."""
        needed_s = sum(run.accelerator_s for run in runs)
        if self.accelerator_s is not None and needed_s > self.accelerator_s:
            return False
        needed_s = sum(run.wall_clock_s for run in runs) / max(1, num_concurrent)
        return self.wall_clock_s is None or needed_s <= self.wall_clock_s


@dataclass(frozen=True, slots=True)
class Limits:
    """A budget in accelerator-seconds and wall-clock seconds; None: no limit."""

    accelerator_s: float | None
    wall_clock_s: float | None
    reserve: float
    """Share of both that only confirmation may use."""

    money_binds: bool = False
    """Whether `accelerator_s` follows from an amount of money."""

    def without_reserve(self) -> Limits:
        """What everything but confirmation may spend."""
        return Limits(
            accelerator_s=_share(self.accelerator_s, 1.0 - self.reserve),
            wall_clock_s=_share(self.wall_clock_s, 1.0 - self.reserve),
            reserve=0.0,
            money_binds=self.money_binds,
        )

    def left(self, *, accelerator_s: float, wall_clock_s: float) -> Left:
        """After so much was spent."""
        return Left(
            accelerator_s=_less(self.accelerator_s, accelerator_s),
            wall_clock_s=_less(self.wall_clock_s, wall_clock_s),
        )

    def reached(self, *, accelerator_s: float, wall_clock_s: float) -> str | None:
        """The limit that is used up, by the name of its field; None while there is some left."""
        if self.accelerator_s is not None and accelerator_s >= self.accelerator_s:
            return "budget.money" if self.money_binds else "budget.accelerator_s"
        if self.wall_clock_s is not None and wall_clock_s >= self.wall_clock_s:
            return "budget.wall_clock_s"
        return None


def limits_of(budget: BudgetSpec, *, price_per_hour: float | None) -> Limits:
    """The budget of a spec; money counts as the accelerator-seconds that it buys.

    Args:
        budget: What was asked.
        price_per_hour: Of one worker; needed if the budget has money.

    Raises:
        ValueError: It has, and there is no price.
    """
    accelerator_s, money_binds = budget.accelerator_s, False
    if budget.money is not None:
        if price_per_hour is None:
            raise ValueError("a budget in money needs a price")
        bought_s = budget.money / price_per_hour * 3600.0
        if accelerator_s is None or bought_s < accelerator_s:
            accelerator_s, money_binds = bought_s, True
    return Limits(
        accelerator_s=accelerator_s,
        wall_clock_s=budget.wall_clock_s,
        reserve=budget.reserve,
        money_binds=money_binds,
    )


@dataclass(frozen=True, slots=True)
class Affordable:
    """How much of what was wanted can be paid."""

    num_finalists: int
    num_seeds: int
    """Of each finalist and of the reference; 1: nothing can be compared."""


def affordable(
    finalists: Sequence[RunCost],
    reference: RunCost,
    *,
    num_seeds: int,
    left: Left,
    num_concurrent: int,
) -> Affordable:
    """The most finalists, then the most seeds, whose runs fit into what is left.

    Fewer than two seeds compare nothing, so then nobody but the reference is trained.

    Args:
        finalists: The best first.
        reference: Likewise trained with every seed.
        num_seeds: Wanted.
        left: For it.
        num_concurrent: Runs at a time.
    """
    for count in range(len(finalists), 0, -1):
        for seeds in range(num_seeds, 1, -1):
            runs = [*finalists[:count], reference] * seeds
            if left.pays(runs, num_concurrent=num_concurrent):
                return Affordable(num_finalists=count, num_seeds=seeds)
    pays_one = left.pays([reference], num_concurrent=num_concurrent)
    return Affordable(num_finalists=0, num_seeds=1 if pays_one else 0)


def _less(limit: float | None, spent: float) -> float | None:
    return None if limit is None else max(0.0, limit - spent)


def _share(limit: float | None, share: float) -> float | None:
    return None if limit is None else limit * share
