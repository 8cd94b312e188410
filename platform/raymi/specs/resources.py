"""What one run occupies on a cluster: workers, their accelerator and their CPUs."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from raymi.specs.base import Spec


class ResourceSpec(Spec):
    """The shape of a data-parallel worker group."""

    accelerator: str = Field(default="auto", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """`auto` (what the cluster has), `cpu`, or Ray's name, such as `AMD-Instinct-MI300X-OAM`."""

    num_workers: PositiveInt = 1
    """Data-parallel workers, one process and at most one accelerator each."""

    cpus_per_worker: PositiveInt = 1
    """CPUs reserved for each worker; also its number of compute threads on CPU."""
