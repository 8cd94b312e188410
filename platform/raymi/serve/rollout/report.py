"""What a replica says about one of its models: which versions it has, and how they compare."""

from __future__ import annotations

from typing import Literal

from raymi.serve.metrics import MetricsSnapshot
from raymi.serve.rollout.comparison import Comparison
from raymi.serve.rollout.state import VersionRef
from raymi.store.record import Record

Condition = Literal["loading", "ready", "failed"]


class VersionReport(Record):
    """One version in one replica."""

    version: VersionRef
    """The version."""

    condition: Condition
    """Whether it could answer."""

    reason: str | None = None
    """Why it failed."""


class ReplicaReport(Record):
    """One replica."""

    replica: str
    """Its id, as Serve has it."""

    generation: int
    """The rollout that it follows."""

    active: VersionRef | None
    """The version that answers; None: none of them can."""

    versions: tuple[VersionReport, ...]
    """Everything it has, or tries to load."""

    comparison: Comparison | None = None
    """Of a version that is tried with the one that it would replace."""

    metrics: MetricsSnapshot = MetricsSnapshot()
    """What it has counted since it started."""

    at_s: float
    """When this was written; seconds since 1970."""

    def of(self, version: VersionRef) -> VersionReport | None:
        """What it says about a version."""
        return next((v for v in self.versions if v.version == version), None)
