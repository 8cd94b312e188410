"""Environment variables that change what AMD devices do: name, value, when, why, and who says so.

None of them has been tried on AMD hardware by this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_GUIDE = "AMD, MI300X workload optimisation guide"
_SYSTEM_GUIDE = "AMD, MI300X system optimisation guide"
_PRIMUS = "AMD, Primus, base_env.sh"
_TRAINING = "AMD, training containers for ROCm"
_RAY = "Ray 2.60, AcceleratorSetupCallback and AMDGPUAcceleratorManager"
_TORCH = "PyTorch, HIP semantics and tests"

WORKERS_OF_A_HOST = 8
"""Devices of an MI300X host; AMD's advice is for all of them or one."""


class Need(StrEnum):
    """Which runs need a variable."""

    ALWAYS = "always"
    """Every run."""

    RAY_TRAIN = "ray_train"
    """Every worker that Ray Train starts; nobody else."""

    SEVERAL_WORKERS = "several_workers"
    """Runs with collectives."""

    PART_OF_A_HOST = "part_of_a_host"
    """Runs with two to seven workers."""

    WHOLE_HOST = "whole_host"
    """Runs with eight workers."""

    TF32 = "tf32"
    """Runs in tf32."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable and the reason for it."""

    name: str
    value: str
    need: Need
    why: str
    source: str


AMD = (
    Variable(
        "RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES",
        "1",
        Need.RAY_TRAIN,
        "Ray sets HIP_VISIBLE_DEVICES to one device and Ray Train sets CUDA_VISIBLE_DEVICES to "
        "all of a node's; HIP's wins, and rank 1 asks for a device that it cannot see",
        _RAY,
    ),
    Variable(
        "HIP_FORCE_DEV_KERNARG",
        "1",
        Need.ALWAYS,
        "kernel arguments in device memory: 2 to 3 microseconds less per kernel; the default "
        "since ROCm 6.2",
        _SYSTEM_GUIDE,
    ),
    Variable(
        "HSA_OVERRIDE_CPU_AFFINITY_DEBUG",
        "0",
        Need.ALWAYS,
        "the runtime's threads keep to the CPUs of their process, which Ray or a container may "
        "have restricted",
        _SYSTEM_GUIDE,
    ),
    Variable(
        "TORCH_BLAS_PREFER_HIPBLASLT",
        "1",
        Need.ALWAYS,
        "hipBLASLt has the faster products, and the only ones in tf32; newer PyTorch prefers it "
        "by itself",
        _GUIDE,
    ),
    Variable(
        "GPU_MAX_HW_QUEUES",
        "2",
        Need.ALWAYS,
        "two compute and two communication queues; more than four streams slow overlapped "
        "collectives",
        _GUIDE,
    ),
    Variable(
        "TORCH_NCCL_HIGH_PRIORITY",
        "1",
        Need.SEVERAL_WORKERS,
        "RCCL streams overlap with compute instead of queueing behind it",
        _GUIDE,
    ),
    Variable(
        "NCCL_IGNORE_CPU_AFFINITY",
        "1",
        Need.SEVERAL_WORKERS,
        "RCCL chooses its own CPUs, even if Ray has pinned the process to others",
        _PRIMUS,
    ),
    Variable(
        "RCCL_MSCCL_ENABLE",
        "0",
        Need.SEVERAL_WORKERS,
        "MSCCL corrupted data in some releases",
        _TRAINING,
    ),
    Variable(
        "RCCL_MSCCLPP_ENABLE", "0", Need.SEVERAL_WORKERS, "off in AMD's own training stack", _PRIMUS
    ),
    Variable(
        "NCCL_MIN_NCHANNELS",
        "32",
        Need.PART_OF_A_HOST,
        "AMD's advice for fewer than eight devices",
        _GUIDE,
    ),
    Variable(
        "NCCL_MIN_NCHANNELS",
        "112",
        Need.WHOLE_HOST,
        "AMD's advice for eight devices of one host; a collective then takes up to 112 of the 304 "
        "compute units",
        _GUIDE,
    ),
    Variable(
        "HIPBLASLT_ALLOW_TF32",
        "1",
        Need.TF32,
        "PyTorch 2.5 to 2.10 ignores its own switch for tf32 without it",
        _TORCH,
    ),
)
"""What the platform sets."""

CACHES = {
    "MIOPEN_USER_DB_PATH": "miopen",
    "MIOPEN_CUSTOM_CACHE_DIR": "miopen",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
}
"""Caches of compiled kernels, and their directories below one of the node's own.

They are SQLite and lock files, which many workers break on a shared file system; LUMI and other
sites keep them on the nodes.
"""

BY_HAND = {
    "NCCL_IB_HCA": "network of the site",
    "NCCL_IB_GID_INDEX": "network of the site; often 3",
    "NCCL_SOCKET_IFNAME": "network of the site",
    "GLOO_SOCKET_IFNAME": "network of the site",
    "NCCL_CROSS_NIC": "network of the site; Primus: 0",
    "NCCL_PXN_DISABLE": "network of the site; Primus: 1",
    "NCCL_ALGO": "Ring makes reductions repeatable (Primus)",
    "CUDA_DEVICE_MAX_CONNECTIONS": "order of kernels and collectives (Primus: 1)",
    "HSA_NO_SCRATCH_RECLAIM": "keeps scratch memory; for mixtures of experts (Primus: 1)",
    "HSA_ENABLE_SDMA": "copies by DMA engines; on by default",
    "PYTORCH_TUNABLEOP_ENABLED": "tuned products; tune in a run of its own, never in a timed one",
    "PYTORCH_TUNABLEOP_TUNING": "1 tunes while it runs, which no timing survives",
    "PYTORCH_NO_HIP_MEMORY_CACHING": "for debugging; very slow",
    "MIOPEN_FIND_MODE": "how long to search for a convolution",
    "MIOPEN_FIND_ENFORCE": "whether to search for convolutions again",
    "ROCBLAS_DEFAULT_ATOMICS_MODE": "0 makes products repeatable (Primus)",
    "TORCH_COMPILE_DISABLE": "1 ignores torch.compile",
    "RCCL_WARP_SPEED_AUTO": "Primus: 0 on MI355X",
    "PYTORCH_MIOPEN_SUGGEST_NHWC": "layout of convolutions",
}
"""What the platform leaves to a site or a person, and why it matters to who compares two runs."""
