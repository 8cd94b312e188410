"""What one run occupies on a cluster: workers, their accelerator and their CPUs."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PositiveInt, ValidationError, model_validator

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


def _count_or_range(value: Any) -> Any:
    """Look at one of the two alone, so that an error speaks of what was meant."""
    if isinstance(value, dict):
        try:
            return WorkerRange.from_document(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = "".join(f"{part}: " for part in first["loc"])
            raise ValueError(f"{place}{first['msg'].removeprefix('Value error, ')}") from error
    if not isinstance(value, int | WorkerRange) or isinstance(value, bool) or value == 0:
        raise ValueError(
            f"a number of workers, such as 8, or a range, such as {{min: 2, max: 8}}, not {value!r}"
        )
    return value


class ResourceSpec(Spec):
    """The shape of a data-parallel worker group."""

    accelerator: str = Field(default="auto", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """`auto` (what the cluster has), `cpu`, or Ray's name, such as `AMD-Instinct-MI300X-OAM`."""

    num_workers: Annotated[PositiveInt | WorkerRange, BeforeValidator(_count_or_range)] = 1
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
