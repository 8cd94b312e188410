"""What counts as a run that is going wrong, and how it is noticed."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from raymi.specs.base import Spec


class HealthSpec(Spec):
    """Checks on the numbers while a run trains; a run that fails one stops with its reason."""

    parity_steps: NonNegativeInt = 3
    """First steps repeated by an fp32 twin and compared, unless the run is fp32; 0: none."""

    max_bad_steps: PositiveInt = 20
    """Steps in a row whose gradients are not finite before the run has diverged."""

    max_loss_growth: PositiveFloat | None = Field(default=4.0, gt=1.0)
    """A smoothed loss this many times its best so far, and above its start, is a spike that
    ends the run; unset: never."""

    memory_shrinks: NonNegativeInt = 3
    """Times `micro_batch_size` is halved after running out of memory; the result is the same."""
