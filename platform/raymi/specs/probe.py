"""How settings are timed and measured before anything is trained."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from raymi.specs.base import Spec


class ProbeSpec(Spec):
    """Short, timed, interleaved windows of optimizer steps on random input."""

    rounds: int = Field(default=9, ge=6, le=100)
    """Windows of each setting that stays in the race; fewer than 6 have no 95% interval, and only
    from 9 on does that interval do without the smallest and the largest value."""

    window_s: PositiveFloat = 0.3
    """Seconds of one window; at least one whole optimizer step, however long it takes."""

    memory: bool = True
    """Measure peak memory in fresh processes, and find the largest micro-batch that fits."""

    memory_headroom: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of a worker's memory that a setting must leave free."""

    hopeless_factor: float = Field(default=3.0, gt=1.0)
    """A precision this many times slower than the reference's, at the same micro-batch, is not
    probed further."""
