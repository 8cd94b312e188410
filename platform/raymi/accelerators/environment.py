"""Environment variables a training worker needs on a vendor's devices: variable, value, why.

Set through Ray's runtime environment, so that they are there before anything touches a
device. None of the AMD settings has been run on AMD hardware by this project yet; sources
are AMD's MI300X workload guide and Ray's own source.
"""

from __future__ import annotations

from dataclasses import dataclass

from raymi.accelerators.catalog import Accelerator


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable and the reason for it."""

    name: str
    value: str
    why: str


AMD = (
    Variable(
        "RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES",
        "1",
        "Ray sets HIP_VISIBLE_DEVICES to one device and Ray Train sets CUDA_VISIBLE_DEVICES to "
        "all of a node's; HIP's wins, and rank 1 asks for a device that it cannot see",
    ),
    Variable(
        "TORCH_NCCL_HIGH_PRIORITY", "1", "RCCL streams overlap with compute instead of queueing"
    ),
    Variable("GPU_MAX_HW_QUEUES", "2", "more hardware queues slow down overlapped collectives"),
    Variable("NCCL_IGNORE_CPU_AFFINITY", "1", "Ray may have pinned the CPUs RCCL would choose"),
)


def worker_environment(accelerator: Accelerator) -> dict[str, str]:
    """Variables for the workers of one run."""
    if accelerator.vendor == "amd":
        return {variable.name: variable.value for variable in AMD}
    return {}
