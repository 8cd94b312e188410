"""ModelVersion: one registered model, and what happened to it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from raymi.evaluate.result import Interval
from raymi.specs.precision import Precision
from raymi.store.record import Record


class Alias(StrEnum):
    """Names that move from version to version."""

    CANDIDATE = "candidate"
    CHAMPION = "champion"
    PREVIOUS = "previous"


class Action(StrEnum):
    """What can happen to a model."""

    REGISTER = "register"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class ModelSummary(Record):
    """What a listing shows, so that it need not open a bundle."""

    run_id: str
    """The run it came from."""

    metrics: dict[str, float]
    """On the test rows."""

    primary_metric: str
    """The one that decides."""

    interval: Interval
    """Of the primary metric."""

    precision: Precision
    """Arithmetic it was trained with and is served with."""

    micro_batch_size: int
    """Rows in one pass of the run; the largest batch in serving unless a deployment says else."""

    dataset: dict[str, Any]
    """Name, fingerprint and row counts of the data."""


class ModelVersion(ModelSummary):
    """One immutable, registered model."""

    name: str
    """The model."""

    version: int
    """1, 2, 3, ... per name."""

    fingerprint: str
    """sha256 (hex) of the bundle's manifest, which holds that of every file."""

    created_at: datetime
    """UTC."""

    path: str
    """The bundle's directory."""

    @property
    def reference(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.name}@{self.version}"


class ModelEvent(Record):
    """One row of a model's history."""

    name: str
    """The model."""

    action: Action
    """What happened."""

    version: int
    """The version that got the alias."""

    replaced: int | None
    """The version that had it before."""

    by: str
    """Who did it."""

    reason: str
    """Why."""

    at: datetime
    """UTC."""
