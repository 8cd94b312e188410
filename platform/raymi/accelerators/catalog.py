"""What each known accelerator can compute with, by Ray's name for it.

Sources: AMD's ROCm precision-support tables (gfx942, gfx950) and NVIDIA's architecture
whitepapers. A precision is listed once the hardware multiplies matrices in it; a CPU counts as
able to do bf16 although most only emulate it, since its results are those of bf16.

One name is not one arithmetic. fp8 is two formats (`Float8Format`). tf32 on gfx942 is a numeric
class of its own: its errors are close to those of bf16 (ROCm's numerical-accuracy notes, after
PyTorch's pull request 188168), so that a tf32 result of an NVIDIA device says nothing about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from raymi.errors import CapabilityError
from raymi.specs.paths import closest
from raymi.specs.precision import Precision

Vendor = Literal["cpu", "amd", "nvidia"]

_EVERYWHERE = frozenset({Precision.FP32})
_HALF = _EVERYWHERE | {Precision.FP16}
_MODERN = _HALF | {Precision.BF16, Precision.BF16_PURE}
_TENSOR_FLOAT = _MODERN | {Precision.TF32}
_FLOAT8 = frozenset({Precision.FP8})


class Float8Format(StrEnum):
    """Which eight bits a device multiplies; the same bits mean twice as much in OCP's.

    A tensor converts from one to the other through a wider type, never by copying its bytes.
    """

    FNUZ = "fnuz"
    """gfx942: e4m3 ends at 240, e5m2 at 57344; no infinity, and a cast above the end is NaN."""

    OCP = "ocp"
    """Everybody else: e4m3 ends at 448, e5m2 at 57344."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One kind of device."""

    name: str
    """Ray's spelling, or `cpu`."""

    vendor: Vendor
    """Who made it; `cpu` when there is none."""

    architecture: str
    """Compiler target: `gfx942`, `sm_90`, `cpu`."""

    precisions: frozenset[Precision]
    """Precision policies it can train with."""

    float8: Float8Format | None = None
    """Format of its fp8 matrix instructions; None: it has none."""

    @property
    def is_gpu(self) -> bool:
        """Whether Ray must reserve a GPU for each worker."""
        return self.vendor != "cpu"

    @property
    def collective_backend(self) -> str:
        """torch.distributed backend; on ROCm `nccl` is RCCL."""
        return "nccl" if self.is_gpu else "gloo"


CPU = Accelerator("cpu", "cpu", "cpu", _MODERN)


def _kinds(
    vendor: Vendor,
    names: str,
    architecture: str,
    precisions: frozenset[Precision],
    float8: Float8Format | None = None,
) -> list[Accelerator]:
    return [Accelerator(name, vendor, architecture, precisions, float8) for name in names.split()]


CATALOG: dict[str, Accelerator] = {
    accelerator.name: accelerator
    for accelerator in [
        CPU,
        *_kinds("amd", "AMD-Instinct-MI100", "gfx908", _MODERN),
        *_kinds(
            "amd", "AMD-Instinct-MI210 AMD-Instinct-MI250 AMD-Instinct-MI250X", "gfx90a", _MODERN
        ),
        *_kinds(
            "amd",
            "AMD-Instinct-MI300A AMD-Instinct-MI300X-OAM AMD-Instinct-MI300X-HF "
            "AMD-Instinct-MI308X-OAM AMD-Instinct-MI325X-OAM",
            "gfx942",
            _TENSOR_FLOAT | _FLOAT8,
            Float8Format.FNUZ,
        ),
        # CDNA4 dropped the xf32 instructions; torch would emulate them.
        *_kinds(
            "amd",
            "AMD-Instinct-MI350X-OAM AMD-Instinct-MI355X-OAM",
            "gfx950",
            _MODERN | _FLOAT8,
            Float8Format.OCP,
        ),
        *_kinds("nvidia", "V100", "sm_70", _HALF),
        *_kinds("nvidia", "T4", "sm_75", _HALF),
        *_kinds("nvidia", "A100 A30", "sm_80", _TENSOR_FLOAT),
        *_kinds("nvidia", "A10G A10 A40", "sm_86", _TENSOR_FLOAT),
        *_kinds("nvidia", "L4 L40S", "sm_89", _TENSOR_FLOAT | _FLOAT8, Float8Format.OCP),
        *_kinds("nvidia", "H100 H200 GH200", "sm_90", _TENSOR_FLOAT | _FLOAT8, Float8Format.OCP),
        *_kinds("nvidia", "B200 GB200", "sm_100", _TENSOR_FLOAT | _FLOAT8, Float8Format.OCP),
    ]
}


def find(name: str) -> Accelerator:
    """Look an accelerator up by Ray's name.

    Raises:
        CapabilityError: Nothing is known about it.
    """
    if name in CATALOG:
        return CATALOG[name]
    raise CapabilityError(
        f"resources.accelerator: unknown accelerator {name!r}",
        why="nothing is known about what it can compute",
        fix=closest(name, list(CATALOG)),
    )


def require_precision(accelerator: Accelerator, precision: Precision) -> None:
    """Refuse what the accelerator cannot do.

    Raises:
        CapabilityError: With the reason and the precisions that work.
    """
    if precision in accelerator.precisions:
        return
    able = ", ".join(p.value for p in Precision if p in accelerator.precisions)
    raise CapabilityError(
        f"precision: {precision.value} cannot be used on {accelerator.name}",
        why=_reason(accelerator, precision),
        fix=f"use one of: {able}",
    )


def _reason(accelerator: Accelerator, precision: Precision) -> str:
    numbers = Precision.BF16 if precision is Precision.BF16_PURE else precision
    owner = f"{accelerator.architecture} has" if accelerator.is_gpu else "CPUs have"
    return f"{owner} no {numbers.value} matrix instructions"
