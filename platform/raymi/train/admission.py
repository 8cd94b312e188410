"""May this run start here? Capability and room, decided before anything is launched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raymi.accelerators.catalog import CPU, Accelerator, find, require_precision
from raymi.errors import InfeasibleError
from raymi.specs.resources import ResourceSpec
from raymi.specs.train import TrainSpec

_TYPE_PREFIX = "accelerator_type:"

Resources = Mapping[str, float]
"""A node's resources, by Ray's names: `CPU`, `GPU`, `accelerator_type:<name>`."""


def resolve_accelerator(wanted: str, nodes: Sequence[Resources]) -> Accelerator:
    """Turn `auto` into what the cluster has; check that a named accelerator is there.

    Raises:
        CapabilityError: The name is unknown.
        InfeasibleError: No node has it.
    """
    present = sorted(
        {
            key.removeprefix(_TYPE_PREFIX)
            for node in nodes
            for key in node
            if key.startswith(_TYPE_PREFIX) and node.get("GPU", 0) > 0
        }
    )
    if wanted == "auto":
        return find(present[0]) if present else CPU
    accelerator = find(wanted)
    if accelerator.is_gpu and wanted not in present:
        raise InfeasibleError(
            f"resources.accelerator: no node has {wanted}",
            why=f"this cluster has {', '.join(present) or 'CPUs only'}",
            fix="use `accelerator: auto`, or submit to a cluster that has it",
        )
    return accelerator


def worker_resources(spec: ResourceSpec, accelerator: Accelerator) -> dict[str, float]:
    """What Ray reserves for each worker."""
    resources = {"CPU": float(spec.cpus_per_worker)}
    if accelerator.is_gpu:
        resources["GPU"] = 1.0
    return resources


def num_workers_that_fit(
    spec: ResourceSpec, accelerator: Accelerator, nodes: Sequence[Resources]
) -> int:
    """Workers that fit on the empty cluster at once, each whole on one node."""
    need = worker_resources(spec, accelerator)
    return sum(
        min(int(node.get(name, 0.0) // amount) for name, amount in need.items()) for node in nodes
    )


def num_groups_that_fit(
    spec: ResourceSpec, accelerator: Accelerator, nodes: Sequence[Resources]
) -> int:
    """Worker groups of the fewest workers that fit on the empty cluster at once."""
    return num_workers_that_fit(spec, accelerator, nodes) // spec.min_workers


def node_memory_bytes(nodes: Sequence[Resources]) -> int | None:
    """Memory that Ray counts on the smallest node; None if it does not say."""
    found = [int(node["memory"]) for node in nodes if node.get("memory", 0.0) > 0]
    return min(found, default=None)


def require_room(spec: ResourceSpec, accelerator: Accelerator, nodes: Sequence[Resources]) -> None:
    """Refuse a worker group that can never be placed; Ray would wait for it for ever.

    Raises:
        InfeasibleError: With what is wanted and what there is.
    """
    if num_groups_that_fit(spec, accelerator, nodes) >= 1:
        return
    need = worker_resources(spec, accelerator)
    wanted = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
    there = "; ".join(
        ", ".join(f"{node.get(name, 0.0):g} {name}" for name in need) for node in nodes
    )
    raise InfeasibleError(
        f"resources: {spec.min_workers} workers of {wanted} each can never be placed",
        why=f"the nodes have: {there or 'nothing'}",
        fix="lower resources.num_workers or resources.cpus_per_worker",
    )


def admit(spec: TrainSpec, nodes: Sequence[Resources]) -> Accelerator:
    """Everything that must hold before a run starts; returns the device it will use.

    Raises:
        CapabilityError: The precision cannot be used there.
        InfeasibleError: It can never be placed.
    """
    accelerator = resolve_accelerator(spec.resources.accelerator, nodes)
    require_precision(accelerator, spec.precision)
    require_room(spec.resources, accelerator, nodes)
    return accelerator
