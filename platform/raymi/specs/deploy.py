"""Who can use a model, and under which limits."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from raymi.specs.base import Spec
from raymi.specs.data import Name


class BatchingSpec(Spec):
    """How concurrent requests share one forward pass."""

    max_batch_size: PositiveInt | None = None
    """Rows in one forward pass; unset: the micro-batch the sweep chose."""

    max_wait_ms: float = Field(default=0.0, ge=0.0, le=10_000.0)
    """How long the first row of a batch may wait for company when nothing is being computed; rows
    that arrive while something is leave together anyway."""


class DeploySpec(Spec):
    """One model behind one endpoint."""

    kind: Literal["deploy"] = "deploy"
    """Tells specs apart."""

    name: Name | None = None
    """The application; unset: the model's name."""

    model: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}@[a-z0-9]+$")
    """`NAME@ALIAS` or `NAME@VERSION`, such as `digits@champion` or `digits@3`."""

    route_prefix: str = Field(default="/", pattern=r"^/[A-Za-z0-9/_-]*$")
    """Where under the server the application answers."""

    num_replicas: PositiveInt = 1
    """Copies of the model."""

    cpus_per_replica: PositiveFloat = 1.0
    """CPUs reserved for each replica; also bounds its compute threads."""

    batching: BatchingSpec = BatchingSpec()
    """Dynamic batching."""

    max_ongoing_requests: PositiveInt | None = None
    """Requests a replica takes on at once; unset: four times `max_batch_size`, at least 64."""

    max_queued_requests: PositiveInt = 1024
    """Requests held when replicas are full; beyond it the answer is 503."""

    max_request_bytes: PositiveInt = 16 * 1024 * 1024
    """Largest request body; beyond it the answer is 413."""

    max_rows_per_request: PositiveInt = 10_000
    """Most rows in one request; beyond it the answer is 413."""

    request_timeout_s: PositiveFloat = 30.0
    """How long a request's body may take to arrive (408), and its rows may wait for their turn
    (503)."""

    @model_validator(mode="after")
    def _batches_can_fill(self) -> Self:
        size, ongoing = self.batching.max_batch_size, self.max_ongoing_requests
        if size is not None and ongoing is not None and ongoing < 2 * size:
            raise ValueError(
                f"max_ongoing_requests={ongoing} is less than 2 x batching.max_batch_size = "
                f"{2 * size}: single-row requests could never fill a batch"
            )
        return self
