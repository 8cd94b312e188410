"""What one run occupies on a cluster: workers, their accelerator and their CPUs."""

from __future__ import annotations

from typing import Self

from pydantic import Field, PositiveInt, model_validator

from raymi.specs.base import Spec


class WorkerRange(Spec):
    """An elastic worker group: it goes on with fewer when nodes are lost, and grows again."""

    min: PositiveInt
    """Fewest workers worth going on with."""

    max: PositiveInt
    """Workers when there is room for all."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"num_workers: min {self.min} is more than max {self.max}")
        return self


class ResourceSpec(Spec):
    """The shape of a data-parallel worker group."""

    accelerator: str = Field(default="auto", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """`auto` (what the cluster has), `cpu`, or Ray's name, such as `AMD-Instinct-MI300X-OAM`."""

    num_workers: PositiveInt | WorkerRange = 1
    """Data-parallel workers, one process and at most one accelerator each; or a range."""

    cpus_per_worker: PositiveInt = 1
    """CPUs reserved for each worker; also its number of compute threads on CPU."""

    @property
    def max_workers(self) -> int:
        """Workers when there is room for all."""
        return (
            self.num_workers.max
            if isinstance(self.num_workers, WorkerRange)
            else (self.num_workers)
        )

    @property
    def min_workers(self) -> int:
        """Fewest workers the run goes on with."""
        return (
            self.num_workers.min
            if isinstance(self.num_workers, WorkerRange)
            else (self.num_workers)
        )
