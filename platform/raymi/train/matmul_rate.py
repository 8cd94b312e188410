"""How fast this process multiplies matrices, where nobody has published what its device reaches."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from raymi.specs.precision import Precision
from raymi.train.precision import compute_context

BUDGET_S = 0.2
"""Time spent measuring, besides the first product."""

_SIZES = (1024, 256)
"""Of the square matrices: the smaller where the larger takes too long, as bf16 does on old CPUs."""


def measured_tflops(
    precision: Precision,
    device: torch.device,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The best rate of a square product in this precision, with this process's threads.

    A product of n x n matrices is 2 n^3 operations. The numbers are normal: zeros would let a
    device run faster than training can.
    """
    dtype = torch.bfloat16 if precision is Precision.BF16_PURE else torch.float32
    best = 0.0
    for size in _SIZES:
        began = clock()
        left = torch.randn(size, size, device=device, dtype=dtype)
        right = torch.randn(size, size, device=device, dtype=dtype)
        while True:
            start = clock()
            with torch.inference_mode(), compute_context(precision, device):
                product = left @ right
            # Reading one number waits for the device.
            product[0, 0].item()
            best = max(best, 2.0 * size**3 / (clock() - start) / 1e12)
            if clock() - began >= BUDGET_S / 2:
                break
    return best
