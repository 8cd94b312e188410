"""The precision policies a training run may ask for.

A policy is not a dtype: it says which arithmetic the matrix multiplications use while
master weights stay fp32. Whether an accelerator can do it is `raymi.accelerators`' business.
"""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """Arithmetic of the forward and backward pass; weights and optimizer stay fp32."""

    FP32 = "fp32"
    TF32 = "tf32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"


SAFEST_FIRST: tuple[Precision, ...] = (
    Precision.FP32,
    Precision.TF32,
    Precision.BF16,
    Precision.FP16,
    Precision.FP8,
)
"""Order in which ties are settled: the wider, better-behaved format first."""
