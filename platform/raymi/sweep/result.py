"""SweepResult: every trial, the decision, and the winner as a finished run."""

from __future__ import annotations

from typing import Any

from raymi.store.record import Record
from raymi.sweep.decision import Decision
from raymi.sweep.trial import Trial
from raymi.train.result import TrainResult

SWEEP_FILE = "sweep.json"


class SweepResult(Record):
    """A finished sweep."""

    sweep_id: str
    """Unique; also its directory's name."""

    sweep_dir: str
    """Where `sweep.json` and Tune's state are."""

    spec: dict[str, Any]
    """The resolved SweepSpec."""

    trials: tuple[Trial, ...]
    """One row for each point of the space."""

    decision: Decision
    """Who won and why."""

    duration_s: float
    """Wall-clock time, all trials."""

    @property
    def winner(self) -> TrainResult | None:
        """The run to register; None when nobody met the constraints."""
        if self.decision.winner is None:
            return None
        return self.trials[self.decision.winner].result
