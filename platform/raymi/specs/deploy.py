"""Who can use a model, and under which limits."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from raymi.specs.backend import BackendName, ServingPrecision
from raymi.specs.base import Spec
from raymi.specs.data import Name

_RAY_DECIMALS = 4
"""Ray counts resources in ten-thousandths."""

ModelReference = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}@[a-z0-9]+$")]
"""`NAME@ALIAS` or `NAME@VERSION`."""


class BatchingSpec(Spec):
    """How concurrent requests share one forward pass."""

    max_batch_size: PositiveInt | None = None
    """Rows in one forward pass; unset: the micro-batch the sweep chose."""

    max_wait_ms: float = Field(default=1.0, ge=0.0, le=10_000.0)
    """How long the first row of a batch may wait for company when nothing is being computed, if the
    batch before it had any; rows that arrive while something is computed leave together anyway."""


class AccessSpec(Spec):
    """Who may ask, and how often."""

    mode: Literal["token", "open"] = "token"
    """`token`: requests carry `authorization: Bearer TOKEN`. `open`: whoever reaches the port."""

    token_sha256: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    """Fingerprints of accepted tokens; `raymi deploy` makes a token and fills this in."""

    requests_per_s: PositiveFloat | None = None
    """Long-run rate of each replica, beyond which the answer is 429; unset: not limited."""

    burst: PositiveInt = 100
    """Requests that a rate limit lets through at once after a pause."""


class BreachRules(Spec):
    """When a version that is tried, or was just deployed, is taken back by itself."""

    min_requests: PositiveInt = 100
    """Before latency and agreement are judged."""

    min_faults: PositiveInt = 3
    """Before faults are judged: one may be chance."""

    max_fault_increase: float = Field(default=0.01, ge=0.0, le=1.0)
    """Share of requests that may fail beyond the share that failed before."""

    max_p99_ratio: float = Field(default=2.0, ge=1.0)
    """Of its p99 latency to that of the version it would replace."""

    p99_slack_ms: float = Field(default=10.0, ge=0.0)
    """By so much it may be slower whatever the ratio: small times are mostly noise."""

    min_agreement: float | None = Field(default=0.5, ge=0.0, le=1.0)
    """Share of rows on which both versions must say the same; null: not judged."""

    probation_s: PositiveFloat = 600.0
    """How long a version that answers everything is watched after it began to."""

    number_tolerance: float = Field(default=0.5, gt=0.0)
    """Predicted numbers agree if they differ by at most so many standard deviations of the
    target."""


class ScalingSpec(Spec):
    """As many replicas as there are requests for."""

    min_replicas: NonNegativeInt = 1
    """Fewest replicas; 0: none once nobody has asked for `idle_s`, and the next request waits until
    one has started."""

    max_replicas: PositiveInt
    """Most replicas."""

    target_ongoing_requests: PositiveFloat | None = None
    """Requests at work in each replica to aim at; unset: twice the batch size."""

    upscale_delay_s: NonNegativeFloat = 5.0
    """How long there must be too few replicas before more are started."""

    downscale_delay_s: NonNegativeFloat = 120.0
    """How long there must be too many before some end."""

    idle_s: PositiveFloat = 600.0
    """How long nobody may have asked before the last replica ends, where none may be left."""

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas={self.max_replicas} is less than min_replicas={self.min_replicas}"
            )
        return self


class DeploySpec(Spec):
    """One model behind one endpoint, or several in the same replicas."""

    kind: Literal["deploy"] = "deploy"
    """Tells specs apart."""

    name: Name | None = None
    """The application; unset: the model's name."""

    model: ModelReference
    """`NAME@ALIAS` or `NAME@VERSION`, such as `digits@champion` or `digits@3`."""

    also: tuple[ModelReference, ...] = ()
    """Further models in the same replicas, such as `[adult@champion]`: for machines where a replica
    for each model costs too much memory."""

    route_prefix: str = Field(default="/", pattern=r"^/[A-Za-z0-9/_-]*$")
    """Where under the server the application answers."""

    backend: BackendName = BackendName.EAGER
    """Who executes the network; all but `eager` compile or convert it when it is loaded.
    `raymi tune-serving` measures which is best."""

    precision: ServingPrecision | None = None
    """Arithmetic of the forward pass; unset: as the model was evaluated."""

    num_replicas: PositiveInt = 1
    """Copies of the model."""

    scaling: ScalingSpec | None = None
    """How many copies, by the number of requests; unset: always `num_replicas`."""

    cpus_per_replica: PositiveFloat = 1.0
    """CPUs reserved for each replica; also bounds its compute threads."""

    accelerators_per_replica: NonNegativeFloat | None = None
    """Accelerators that Ray reserves for each replica. A fraction, such as 0.25, shares one device
    between replicas and bounds what each takes of its memory. 0: replicas compute on CPUs, whatever
    they see. Unset: one where a node of the cluster has any when the application is first
    deployed, else 0; later deployments leave it as it is."""

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

    access: AccessSpec = AccessSpec()
    """Who may ask, and how often."""

    rollback: BreachRules = BreachRules()
    """When a new version is taken back by itself."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of all models, the one that `POST /predict` asks first."""
        return tuple(reference.partition("@")[0] for reference in (self.model, *self.also))

    @model_validator(mode="after")
    def _models_differ(self) -> Self:
        names = self.model_names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"also: {', '.join(twice)} is there twice; a replica serves one version of a model "
                "(try another with --canary)"
            )
        return self

    @model_validator(mode="after")
    def _replicas_are_counted_once(self) -> Self:
        if self.scaling is not None and self.num_replicas != 1:
            raise ValueError(
                f"num_replicas={self.num_replicas} and scaling exclude each other: "
                "say scaling.min_replicas and scaling.max_replicas"
            )
        return self

    @model_validator(mode="after")
    def _accelerators_can_be_given(self) -> Self:
        wanted = self.accelerators_per_replica or 0.0
        if wanted > 1.0 and not wanted.is_integer():
            raise ValueError(
                f"accelerators_per_replica={wanted:g}: Ray gives a replica a part of one "
                "accelerator, such as 0.5, or whole ones"
            )
        if not math.isclose(wanted, round(wanted, _RAY_DECIMALS), rel_tol=0.0, abs_tol=1e-12):
            raise ValueError(f"accelerators_per_replica={wanted:g}: Ray counts in steps of 0.0001")
        return self

    @model_validator(mode="after")
    def _batches_can_fill(self) -> Self:
        size, ongoing = self.batching.max_batch_size, self.max_ongoing_requests
        if size is not None and ongoing is not None and ongoing < 2 * size:
            raise ValueError(
                f"max_ongoing_requests={ongoing} is less than 2 x batching.max_batch_size = "
                f"{2 * size}: single-row requests could never fill a batch"
            )
        return self
