"""Evidence: everything that was measured to choose a way to serve; the decision follows from it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from raymi.serve.tuning.ways import Candidate, Way
from raymi.store.record import Record


class PassTime(Record):
    """Forward passes of one way to compute, timed."""

    way: int
    num_rows: int
    """Of each pass."""

    round: int
    """Passes of one round were timed right after each other, in random order."""

    pass_s: float
    """Mean seconds of a pass: rows to arrays, network, answers."""


class Outputs(Record):
    """What one way to compute answered to rows that the reference answered, too."""

    way: int
    num_rows: int
    """Rows that were compared: test rows, then made-up ones."""

    max_abs_difference: float
    """Of any probability; of numbers, in standard deviations of the target."""

    labels_differ: int | None
    """Rows whose most probable class differs, but for ties; None: the model predicts a number."""

    scores: tuple[float, ...] = ()
    """Of each test row. Classification: 1 or 0. Regression: squared error. Text: loss in nats,
    summed over the row's bytes. Empty: the test rows are not here."""

    counts: tuple[float, ...] | None = None
    """Text: bytes of each row; None: every row counts once."""


class Forecast(Record):
    """What one candidate could do if nothing but forward passes took time."""

    candidate: int
    rows_per_s: float
    """At most, from all replicas."""

    p99_ms: float | None
    """Of simulated requests at the times that were asked for; None: it falls behind."""


class LoadRun(Record):
    """One candidate, deployed and put under load once."""

    candidate: int
    round: int
    latencies_ms: tuple[float, ...]
    """Of good answers, in the order they came, each counted from when its request was due."""

    num_failed: int
    """Requests that were refused, failed or got no answer."""

    duration_s: float
    ready_s: float
    """From the deployment until it answered."""

    why_failed: str | None = None
    """What the first failure was."""


class Evidence(Record):
    """Everything that was asked and measured."""

    tuning_id: str
    spec: dict[str, Any]
    """The resolved TuneServingSpec, its model pinned to a version."""

    spec_fingerprint: str
    model: str
    """`NAME@VERSION`."""

    bundle: str
    """Fingerprint of that version."""

    metric: str
    """`accuracy`, `rmse` or `loss`: what ways to compute are judged by."""

    accelerator: str
    hardware: dict[str, Any]
    environment: dict[str, str]
    dataset: str
    """Whose test rows were used, or why there are none."""

    has_test_rows: bool
    free_cpus: float | None
    """That the cluster could give when it began; None: it did not say."""

    accelerators_per_replica: float
    """That the endpoints ask for, and that forward passes were timed on; 0: CPUs."""

    free_accelerators: float | None
    """As `free_cpus`."""

    ways: tuple[Way, ...]
    """The first is the reference: how the model was evaluated."""

    candidates: tuple[Candidate, ...]
    refused: dict[int, str] = Field(default={})
    """Way -> why it does not run here, known beforehand."""

    broken: dict[int, str] = Field(default={})
    """Way -> how it failed when it was tried."""

    passes: tuple[PassTime, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    outputs: tuple[Outputs, ...] = ()
    undeployed: dict[int, str] = Field(default={})
    """Candidate -> why it could not be deployed."""

    runs: tuple[LoadRun, ...] = ()
    stopped_by: str | None = None
    """What ended the measurements early."""

    duration_s: float = 0.0
    started_at: datetime
    """UTC."""
