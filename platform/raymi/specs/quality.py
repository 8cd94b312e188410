"""How much training a sweep does to find out what a setting costs in quality."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, NonNegativeFloat

from raymi.specs.base import Spec


class SchedulerName(StrEnum):
    """Who decides that a run is not worth finishing."""

    FIFO = "fifo"
    ASHA = "asha"


class QualitySpec(Spec):
    """Training runs of those that survived the probe, in pairs with the reference."""

    seeds: int = Field(default=3, ge=2, le=30)
    """Runs of each finalist and of the reference; the n-th of both share initial weights and
    row order."""

    finalists: int = Field(default=3, ge=1, le=20)
    """How many ways to compute, besides the reference's, are compared with it."""

    confirm_seeds: int = Field(default=2, ge=1, le=30)
    """Fresh pairs that confirm the winner, on rows that no decision has seen."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Of "not worse than the reference by more than the margin", one-sided."""

    power: float = Field(default=0.8, gt=0.5, lt=1.0)
    """How surely a setting that is exactly as good must be able to pass; with too few
    evaluation rows for that, nobody passes."""

    scheduler: SchedulerName = SchedulerName.FIFO
    """First runs: `fifo` trains each fully; `asha` halves asynchronously, at rungs of cost."""

    reduction_factor: int = Field(default=3, ge=2)
    """ASHA: one run in this many goes on at each rung."""

    target: NonNegativeFloat | None = None
    """`objective: cost_to_target`: the validation metric to reach; unset: what the reference
    reached, less the margin."""
