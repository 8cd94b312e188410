"""What a sweep has spent, against what it was allowed, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

from raymi.specs.sweep import SweepSpec
from raymi.sweep.allowance import Limits, limits_of
from raymi.sweep.evidence import Evidence
from raymi.train.follow import format_seconds

PHASES = ("probe", "quality", "confirmation")


@dataclass(frozen=True, slots=True)
class Books:
    """Accelerator-seconds by phase, and the limits of the whole."""

    phases: dict[str, float]
    """Phase -> accelerator-seconds, in the order in which they come."""

    limits: Limits
    wall_clock_s: float
    price_per_hour: float | None
    """Of one worker."""

    why_cut_short: str | None
    """What ended a phase early."""

    @property
    def spent_s(self) -> float:
        """Accelerator-seconds of all phases."""
        return sum(self.phases.values())

    @property
    def open_limit_s(self) -> float | None:
        """What everything but confirmation may spend; None: no limit."""
        return self.limits.without_reserve().accelerator_s

    @property
    def money(self) -> float | None:
        """Spent; None: no price."""
        if self.price_per_hour is None:
            return None
        return self.spent_s / 3600.0 * self.price_per_hour

    @property
    def over_s(self) -> float:
        """Accelerator-seconds beyond the limit: what stopping took."""
        limit_s = self.limits.accelerator_s
        return 0.0 if limit_s is None else max(0.0, self.spent_s - limit_s)


def read_books(evidence: Evidence) -> Books:
    """The books of a sweep."""
    spending = evidence.spending
    budget = SweepSpec.from_document(evidence.spec).budget
    seconds = (spending.probe_s, spending.quality_s, spending.confirmation_s)
    return Books(
        phases=dict(zip(PHASES, seconds, strict=True)),
        limits=limits_of(budget, price_per_hour=evidence.price_per_hour),
        wall_clock_s=spending.wall_clock_s,
        price_per_hour=evidence.price_per_hour,
        why_cut_short=spending.why_cut_short,
    )


def spending_sentence(books: Books) -> str:
    """What was spent on what, of how much, and whether that was too much."""
    phases = ", ".join(f"{name} {seconds:,.0f}" for name, seconds in books.phases.items())
    text = f"spent {books.spent_s:,.0f}"
    limit_s = books.limits.accelerator_s
    if limit_s is not None:
        text += f" of {limit_s:,.0f}"
    text += f" accelerator-s ({phases})"
    if limit_s is not None:
        text += f", {books.spent_s / limit_s:.0%} of the budget"
    if books.over_s > 0.0:
        text += f", {books.over_s:,.1f} over it"
    text += f"; {format_seconds(books.wall_clock_s)} by the clock"
    wall_clock_s = books.limits.wall_clock_s
    if wall_clock_s is not None:
        text += f" of {format_seconds(wall_clock_s)}"
    if books.money is not None:
        text += f"; {books.money:,.4g} at {books.price_per_hour:g} a worker-hour"
    if books.why_cut_short:
        text += f"; a phase ended early: {books.why_cut_short}"
    return text
