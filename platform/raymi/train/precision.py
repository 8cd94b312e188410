"""The one file that picks a dtype: autocast, matrix-multiply modes and loss scaling.

Weights, gradients and optimizer state are fp32 under every policy.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from raymi.specs.precision import Precision

_AUTOCAST = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}

MAX_SKIPPED_STEPS = 20
"""Consecutive fp16 steps without a finite gradient after which a run has diverged.

The scale starts at 2**16 and halves on each overflow, so a healthy run needs at most 16.
"""


def compute_context(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context a forward pass runs in; a new one for each use."""
    dtype = _AUTOCAST.get(precision)
    if dtype is None:
        return nullcontext()
    return torch.autocast(device_type=device.type, dtype=dtype)


def set_matmul_mode(precision: Precision) -> None:
    """Allow or forbid tf32 in fp32 matrix products of this process."""
    torch.set_float32_matmul_precision("high" if precision is Precision.TF32 else "highest")


def build_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaling for fp16: its five exponent bits lose small gradients without it."""
    return torch.amp.GradScaler(device.type, enabled=precision is Precision.FP16)
