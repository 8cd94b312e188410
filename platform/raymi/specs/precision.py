"""The precision policies a training run may ask for.

A policy is not a dtype: it says which arithmetic the matrix multiplications use, and whether
fp32 master weights are kept. Whether an accelerator can do it is `raymi.accelerators`' business.
"""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """Arithmetic of the forward and backward pass; weights and optimizer stay fp32, but for
    `bf16_pure`, where everything is bf16 and `optimizer.rounding` keeps small updates."""

    FP32 = "fp32"
    TF32 = "tf32"
    BF16 = "bf16"
    FP16 = "fp16"
    BF16_PURE = "bf16_pure"
    FP8 = "fp8"


SAFEST_FIRST: tuple[Precision, ...] = (
    Precision.FP32,
    Precision.TF32,
    Precision.BF16,
    Precision.FP16,
    Precision.BF16_PURE,
    Precision.FP8,
)
"""Order in which ties are settled: the wider, better-behaved format first."""
