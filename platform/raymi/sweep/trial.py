"""Trial: one point of a sweep and what became of it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import JsonValue

from raymi.specs.precision import Precision
from raymi.store.record import Record
from raymi.train.result import TrainResult

TRIAL_FILE = "trial.json"


class Status(StrEnum):
    """Ray's own words for how a job stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class Trial(Record):
    """One point of the space. A failed or impossible trial is a row, not an accident."""

    index: int
    """Its number, in the order of the space."""

    point: dict[str, JsonValue]
    """Path -> value, as in `space`."""

    run_id: str
    """Its run."""

    precision: Precision
    """Of the resolved spec, whether it was swept or not."""

    micro_batch_size: int
    """Likewise."""

    status: Status
    """How it ended."""

    reason: str | None = None
    """Why it did not succeed; machine-readable."""

    detail: str | None = None
    """The same for people."""

    result: TrainResult | None = None
    """What it produced, if it succeeded."""

    @property
    def label(self) -> str:
        """Its point, for a table or a log line."""
        return " ".join(f"{path.rpartition('.')[2]}={value}" for path, value in self.point.items())

    @property
    def quality(self) -> float | None:
        """The primary metric on the validation rows."""
        return self.result.metrics[self.result.primary_metric] if self.result else None
