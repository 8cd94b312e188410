"""SweepResult: where a finished sweep is, what it says, and its winner as a finished run."""

from __future__ import annotations

from raymi.store.record import Record
from raymi.train.result import TrainResult

SWEEP_FILE = "sweep.json"


class SweepResult(Record):
    """A finished sweep."""

    sweep_id: str
    """Unique; also its directory's name."""

    sweep_dir: str
    """Where receipt, page, events and Tune's state are."""

    sentence: str
    """Why the winner won, or why nobody did."""

    winner: TrainResult | None
    """The run to register; None when nobody won, or the winner could not be trained."""

    serving_batch_sizes: tuple[int, ...]
    """Batch sizes worth trying when the winner is served, smallest first; may be empty."""
