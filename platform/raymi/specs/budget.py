"""What a sweep may spend, and how much of it is kept for confirming the winner."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from raymi.specs.base import Spec


class BudgetSpec(Spec):
    """Limits; a sweep plans inside them and stops hard at the first it reaches."""

    accelerator_s: PositiveFloat | None = None
    """Accelerator-seconds: workers times the seconds they were held, starting up included. On a
    machine without accelerators a worker counts as one."""

    money: PositiveFloat | None = None
    """In the currency of `prices`, which must then name the accelerator."""

    wall_clock_s: PositiveFloat | None = None
    """Seconds from the first start of the sweep, not counting the time it lay dead."""

    reserve: float = Field(default=0.25, ge=0.0, lt=1.0)
    """Share of each limit that only the confirmation of the winner may use."""
