"""How to find out by measurement how a model is best served: objective, space, gate, budget."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from raymi.specs.backend import BackendName, ServingPrecision
from raymi.specs.base import Spec


class ServingObjective(Spec):
    """What the endpoint has to carry, and how fast."""

    p99_ms: PositiveFloat = 50.0
    """99 of 100 requests must be answered within so many milliseconds of when they were due."""

    rate_per_s: PositiveFloat = 50.0
    """Requests a second, on average. They arrive at random (Poisson), whatever became of earlier
    ones."""

    trace: str | None = None
    """A CSV file whose first column holds arrival times: requests then come as those did, stretched
    to `rate_per_s`."""

    rows_per_request: PositiveInt = 1
    """Rows that each request asks about."""


class ServingSpace(Spec):
    """Ways to serve that are compared: every combination."""

    backends: tuple[BackendName, ...] = ()
    """Who executes the network; empty: all. What does not run here is left out, with the reason."""

    precisions: tuple[ServingPrecision, ...] = ()
    """Arithmetic of the forward pass; likewise."""

    max_batch_sizes: tuple[PositiveInt, ...] = ()
    """Rows in one forward pass, at most; empty: 1, 8, and what the model's sweep chose."""

    max_waits_ms: tuple[float, ...] = Field(default=(0.0, 2.0), min_length=1)
    """How long the first row of a batch may wait for company."""

    num_replicas: tuple[PositiveInt, ...] = ()
    """Copies of the model; empty: 1, 2 and 4 as far as the cluster has free CPUs."""

    cpus_per_replica: PositiveFloat = 1.0
    """CPUs reserved for each replica; also bounds its compute threads."""

    @model_validator(mode="after")
    def _waits_are_possible(self) -> Self:
        wrong = [wait for wait in self.max_waits_ms if not 0.0 <= wait <= 10_000.0]
        if wrong:
            raise ValueError(f"max_waits_ms holds {wrong[0]:g}; a wait is 0 to 10000 ms")
        return self


class ServingGate(Spec):
    """When other arithmetic is good enough: as in a training sweep, on the model's test rows."""

    margin: float = Field(default=0.01, gt=0.0)
    """By how much a way to compute may be worse than the model as it was evaluated: points of
    accuracy as a share; relative for rmse and loss."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Of "not worse by more than the margin", one-sided, for all ways together."""

    power: float = Field(default=0.8, gt=0.5, lt=1.0)
    """How surely one that is exactly as good must be able to pass; with too few test rows for
    that, none does."""


class ServingMeasurement(Spec):
    """How long and how often things are measured."""

    finalists: int = Field(default=3, ge=1, le=50)
    """Configurations that are deployed and put under load."""

    repeats: int = Field(default=3, ge=1, le=20)
    """Times that each is deployed anew and measured, in turns."""

    duration_s: PositiveFloat | None = None
    """Length of one load; unset: 10 to 60 s, until all loads of a configuration together have 2,000
    requests. Of fewer, even a good p99 has no upper limit."""

    service_rounds: int = Field(default=5, ge=2, le=100)
    """Turns in which forward passes are timed."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Of the interval around a p99."""

    budget_s: PositiveFloat = 900.0
    """No further deployment is begun after so many seconds."""

    seed: NonNegativeInt = 0
    """Of arrivals and of every random order."""


class TuneServingSpec(Spec):
    """Which backend, precision, batch size, wait and number of replicas a model is served with."""

    kind: Literal["tune_serving"] = "tune_serving"
    """Tells specs apart."""

    model: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}@[a-z0-9]+$")
    """`NAME@ALIAS` or `NAME@VERSION`, such as `digits@champion` or `digits@3`."""

    objective: ServingObjective = ServingObjective()
    """What the endpoint has to carry, and how fast."""

    space: ServingSpace = ServingSpace()
    """Ways to serve that are compared."""

    gate: ServingGate = ServingGate()
    """When other arithmetic is good enough."""

    measurement: ServingMeasurement = ServingMeasurement()
    """How long and how often things are measured."""
