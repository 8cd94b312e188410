"""What is compared: ways to compute, and configurations of an endpoint that use them."""

from __future__ import annotations

import math

from raymi.registry.bundle import Bundle
from raymi.serve.backends.catalog import is_offered
from raymi.specs.backend import BackendName, ServingPrecision
from raymi.specs.precision import Precision
from raymi.specs.tune_serving import ServingSpace
from raymi.store.record import Record

_REPLICAS = (1, 2, 4)
_BATCH_SIZES = (1, 8)

SIMPLEST_FIRST = tuple(BackendName)
"""Order in which ties are settled: what evaluation uses, then what does more to the network."""

SAFEST_FIRST = tuple(ServingPrecision)
"""Likewise: the wider format first."""


class Way(Record):
    """One way to compute: who, and with which arithmetic."""

    backend: BackendName
    precision: ServingPrecision

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.backend} {self.precision}"

    @property
    def plainness(self) -> tuple[int, int]:
        """The less, the simpler and safer."""
        return SIMPLEST_FIRST.index(self.backend), SAFEST_FIRST.index(self.precision)


class Candidate(Record):
    """One configuration of an endpoint."""

    way: int
    """Index of the way to compute."""

    max_batch_size: int
    """Rows in one forward pass, at most."""

    max_wait_ms: float
    """How long the first row of a batch may wait for company."""

    num_replicas: int
    """Copies of the model."""

    num_cpus: float
    """Reserved for all of them: what it costs."""


def served_precision(precision: Precision) -> ServingPrecision:
    """The arithmetic with which a model of some precision is evaluated and, if nothing else is
    asked, served."""
    match precision:
        case Precision.TF32:
            return ServingPrecision.FP32
        case Precision.FP8:
            return ServingPrecision.BF16
        case _:
            return ServingPrecision(precision.value)


def list_ways(space: ServingSpace, evaluated: Precision) -> tuple[Way, ...]:
    """Every backend with all it offers; the first way is how the model was evaluated."""
    reference = Way(backend=BackendName.EAGER, precision=served_precision(evaluated))
    others = (
        Way(backend=backend, precision=precision)
        for backend in space.backends or tuple(BackendName)
        for precision in space.precisions or tuple(ServingPrecision)
        if is_offered(backend, precision)
    )
    return (reference, *(way for way in others if way != reference))


def batch_sizes(space: ServingSpace, bundle: Bundle) -> tuple[int, ...]:
    """Those asked for, or some that make sense for the model; smallest first."""
    chosen = space.max_batch_sizes or (*_BATCH_SIZES, bundle.serving.max_batch_size)
    return tuple(sorted(set(chosen)))


def list_candidates(
    space: ServingSpace,
    num_ways: int,
    sizes: tuple[int, ...],
    free_cpus: float | None,
    free_accelerators: float | None,
) -> tuple[Candidate, ...]:
    """Every combination. Batches of one row do not wait, so only one of those has no company.

    Args:
        space: What was asked.
        num_ways: Ways to compute.
        sizes: For `max_batch_size`.
        free_cpus: That the cluster can give; None: nobody knows.
        free_accelerators: The same of accelerators, of which each replica has one; None: or it has
            none.
    """
    cpus = space.cpus_per_replica
    most = min(
        math.inf if free_cpus is None else free_cpus / cpus,
        math.inf if free_accelerators is None else free_accelerators,
    )
    fitting = [n for n in _REPLICAS if n == 1 or n <= most]
    return tuple(
        Candidate(
            way=way,
            max_batch_size=size,
            max_wait_ms=wait_ms,
            num_replicas=num_replicas,
            num_cpus=num_replicas * cpus,
        )
        for num_replicas in sorted(set(space.num_replicas)) or fitting
        for way in range(num_ways)
        for size in sizes
        for wait_ms in (space.max_waits_ms[:1] if size == 1 else space.max_waits_ms)
    )
