"""Evaluation: what a run's final weights do on rows nobody has looked at before."""

from __future__ import annotations

from typing import Any, Literal

from raymi.store.record import Record

PREDICTIONS_FILE = "test-predictions.parquet"
EVALUATION_FILE = "evaluation.json"


class Interval(Record):
    """Where the true value of a metric plausibly is."""

    low: float
    """Lower end."""

    high: float
    """Upper end."""

    level: float = 0.95
    """Confidence."""

    method: Literal["wilson", "bootstrap"]
    """How it was computed: score interval of a proportion, or percentiles of resamples."""


class Slice(Record):
    """The model on some of the rows."""

    name: str
    """Which rows, such as `label=7`."""

    metric: str
    """`recall`, `rmse` or `loss`."""

    value: float | None
    """None if there are no such rows."""

    num_rows: int
    """How many there are."""


class Evaluation(Record):
    """A judgement on the test split."""

    run_id: str
    """The run that was judged."""

    dataset: dict[str, Any]
    """Name, fingerprint and row counts of the data."""

    num_rows: int
    """Test rows."""

    metrics: dict[str, float]
    """`accuracy, loss, ece, macro_f1`, `rmse, mae, r2` or `loss, bits_per_byte, accuracy`."""

    primary_metric: str
    """The one that decides."""

    interval: Interval
    """Of the primary metric."""

    slices: tuple[Slice, ...]
    """The same rows, cut by class or by the size of the target."""

    predictions_file: str
    """Inside the run's directory: row, target, prediction and its probability; for `next_byte`
    row, text, and sums over its bytes."""

    @property
    def sentence(self) -> str:
        """The result in one line for people."""
        return (
            f"test {self.primary_metric} {self.metrics[self.primary_metric]:.4f} "
            f"(95% interval {self.interval.low:.4f} to {self.interval.high:.4f}) "
            f"on {self.num_rows:,} rows"
        )
