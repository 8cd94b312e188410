"""Learn from a registered model as well as from the labels."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from raymi.specs.base import Spec


class DistillationSpec(Spec):
    """The teacher, and how much it counts. Hinton et al., arXiv 1503.02531."""

    teacher: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}@[a-z0-9]+$")
    """`NAME@ALIAS` or `NAME@VERSION`: a registered model of the same target that can read the
    same rows. It is asked about each training row once, before the run begins."""

    weight: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of the loss that follows the teacher; the rest follows the labels."""

    temperature: PositiveFloat = 2.0
    """Softens both distributions; classification only."""
