"""The one file that picks a dtype: of weights and inputs, of arithmetic, of scaled losses.

Weights, gradients and optimizer state are fp32 under every policy but `bf16_pure`, under which
all of them are bf16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from raymi.accelerators.catalog import Accelerator
from raymi.specs.precision import Precision
from raymi.train.float8 import convert_to_float8

# fp8 is for the products of wide layers alone; around them it is bf16.
_AUTOCAST = {
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
    Precision.FP8: torch.bfloat16,
}

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def compute_context(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context a forward pass runs in; a new one for each use."""
    dtype = _AUTOCAST.get(precision)
    if dtype is None:
        return nullcontext()
    return torch.autocast(device_type=device.type, dtype=dtype)


def set_matmul_mode(precision: Precision) -> None:
    """Allow or forbid tf32 in fp32 matrix products and convolutions of this process.

    Torch forbids it in products and allows it in convolutions, so that by default fp32 means
    different things in different layers.
    """
    is_allowed = precision is Precision.TF32
    torch.set_float32_matmul_precision("high" if is_allowed else "highest")
    torch.backends.cudnn.allow_tf32 = is_allowed


@contextmanager
def matmul_mode(precision: Precision) -> Iterator[None]:
    """`set_matmul_mode` for a while; then back to what was set before."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    set_matmul_mode(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def build_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaling for fp16: its five exponent bits lose small gradients without it."""
    return torch.amp.GradScaler(device.type, enabled=precision is Precision.FP16)


def prepare_model(model: nn.Module, precision: Precision, accelerator: Accelerator) -> nn.Module:
    """Change a network, in place, into one that trains in this precision.

    Before it is sharded or replicated and before its optimizer is built. Names of weights stay
    as they are, and so does what it takes: a `bf16_pure` network casts its inputs itself.

    Raises:
        CapabilityError: The accelerator, the installation or the network cannot do fp8.
    """
    if precision is Precision.FP8:
        # Without any GPU the same conversion computes the same numbers slowly; admission lets
        # no run get there, but tests do.
        return convert_to_float8(model, accelerator, emulate=not torch.cuda.is_available())
    if precision is Precision.BF16_PURE:
        return _cast_to_bf16(model)
    return model


def _cast_to_bf16(model: nn.Module) -> nn.Module:
    """Weights to bf16; buffers and BatchNorm, whose sums over batches need the bits, stay fp32.

    LayerNorm and GroupNorm need no exception: they sum in fp32 whatever their weights are.
    """
    for module in model.modules():
        if isinstance(module, _BATCH_NORMS):
            continue
        for parameter in module.parameters(recurse=False):
            if parameter.dtype is torch.float32:
                parameter.data = parameter.data.bfloat16()
    model.register_forward_pre_hook(_cast_inputs, with_kwargs=True)
    return model


def _cast_inputs(
    _: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return _as_bf16(positional), _as_bf16(named)


def _as_bf16(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.bfloat16() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _as_bf16(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_as_bf16(below) for below in value)
    return value
