"""Eight-bit floats: their formats, casts that cannot overflow, and networks that multiply in them.

Two formats exist (`accelerators.catalog.Float8Format`) and each has two types: e4m3, with three
bits after the point, for weights and activations, and e5m2, with two and a wider range, for
gradients. A tensor is stored with one fp32 scale, from its largest magnitude.

What a cast does above a type's range differs, so `quantize` clamps first. In torch 2.13: e4m3fn
stays at 448, infinity included; e5m2 becomes infinite; both FNUZ types become NaN.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from raymi.accelerators.catalog import Accelerator, Float8Format
from raymi.errors import CapabilityError

if TYPE_CHECKING:
    from torchao.float8 import Float8LinearConfig

E4M3 = {
    Float8Format.FNUZ: torch.float8_e4m3fnuz,
    Float8Format.OCP: torch.float8_e4m3fn,
}
"""For weights and activations; largest value 240 and 448."""

E5M2 = {
    Float8Format.FNUZ: torch.float8_e5m2fnuz,
    Float8Format.OCP: torch.float8_e5m2,
}
"""For gradients; largest value 57344 in both."""

SIZE_MULTIPLE = 16
"""The matrix instructions take sizes that are multiples of this (torch._scaled_mm)."""

_FNUZ_NAN = -128
"""int8 view of 0x80: minus zero in OCP's types, the only NaN in FNUZ's."""


def quantize(
    values: Tensor, dtype: torch.dtype, *, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Store a tensor in eight bits: (float8 tensor, scale), with values = float8 x scale.

    Args:
        values: Any shape, any wider type.
        dtype: One of the four float8 types.
        scale: fp32 scalar to use; by default the largest magnitude takes the largest value. With
            a scale from an earlier tensor, larger values saturate. NaN stays NaN; infinity does
            only when the scale is this tensor's own.
    """
    largest = torch.finfo(dtype).max
    wide = values.float()
    if scale is None:
        amax = wide.abs().max() if wide.numel() else wide.new_zeros(())
        scale = (amax / largest).clamp_min(torch.finfo(torch.float32).tiny)
    return (wide / scale).clamp(-largest, largest).to(dtype), scale


def dequantize(stored: Tensor, scale: Tensor) -> Tensor:
    """The fp32 values that `quantize` stored."""
    return stored.float() * scale


def as_fnuz(stored: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The same bytes and values for gfx942: OCP e4m3 read as FNUZ, with a scale to match.

    FNUZ's exponent bias is larger by one, so that the same bits mean half as much: the scale
    doubles. The bits of minus zero are its NaN, and become zero. OCP's NaN would read as -240
    and 240, and becomes NaN.

    Raises:
        ValueError: Not float8_e4m3fn; e5m2's infinities have no place in FNUZ.
    """
    if stored.dtype is not torch.float8_e4m3fn:
        raise ValueError(f"only float8_e4m3fn can be read as FNUZ, not {stored.dtype}")
    bits = stored.view(torch.int8).clone()
    is_nan = stored.float().isnan()
    bits[bits == _FNUZ_NAN] = 0
    bits[is_nan] = _FNUZ_NAN
    return bits.view(torch.float8_e4m3fnuz), scale * 2.0


def require_float8(
    model: nn.Module, accelerator: Accelerator
) -> tuple[Float8Format, frozenset[str]]:
    """The accelerator's format, and the names of the layers that can be converted.

    Raises:
        CapabilityError: It has no fp8, or no layer has the sizes it takes.
    """
    if accelerator.float8 is None:
        raise CapabilityError(
            f"precision: fp8 cannot be used on {accelerator.name}",
            why="it has no fp8 matrix instructions",
            fix="use bf16",
        )
    chosen = convertible_layers(model)
    if not chosen:
        raise CapabilityError(
            "precision: fp8 would change nothing in this network",
            why="no linear layer between the first and the last has sizes that are multiples of "
            f"{SIZE_MULTIPLE}",
            fix="use bf16, or more and wider hidden layers",
        )
    return accelerator.float8, chosen


def convert_to_float8(model: nn.Module, accelerator: Accelerator, *, emulate: bool) -> nn.Module:
    """Make the inner linear layers multiply in fp8, forward and backward, in place.

    One scale per tensor, from its current values; weights stay fp32 and keep their names. The
    first and last layers with weights, and sizes that the instructions do not take, are left
    alone. Activations are scaled by micro-batch and worker: unlike in other precisions, how a
    global batch is cut changes the result by a rounding error. `emulate` computes the same
    numbers in fp32, on any device.

    Raises:
        CapabilityError: The accelerator has no fp8, torchao is not installed, or no layer can be
            converted.
    """
    number_format, chosen = require_float8(model, accelerator)
    try:
        with _quiet("torchao", "torch.utils._pytree"):
            from torchao.float8 import convert_to_float8_training
    except ImportError as error:
        raise CapabilityError(
            "precision: fp8 needs torchao, which is not installed",
            why=str(error),
            fix='pip install "raymi[gpu]"',
        ) from error
    converted: nn.Module = convert_to_float8_training(
        model,
        module_filter_fn=lambda _, name: name in chosen,
        config=_config(number_format, emulate=emulate),
    )
    return converted


def convertible_layers(model: nn.Module) -> frozenset[str]:
    """Names of the linear layers that fp8 is for.

    The first and last layers carry the extremes, of inputs and of the loss's gradient, and are
    a small part of the work. Order is that of registration.
    """
    weighted = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), Tensor) and module.weight.ndim >= 2
    ]
    return frozenset(
        name
        for name, module in weighted[1:-1]
        if type(module) is nn.Linear
        and module.in_features % SIZE_MULTIPLE == 0
        and module.out_features % SIZE_MULTIPLE == 0
    )


def _config(float8: Float8Format, *, emulate: bool) -> Float8LinearConfig:
    from torchao.float8 import CastConfig, Float8LinearConfig

    # Said and not left to torchao, which looks at the machine.
    return Float8LinearConfig(
        cast_config_input=CastConfig(target_dtype=E4M3[float8]),
        cast_config_weight=CastConfig(target_dtype=E4M3[float8]),
        cast_config_grad_output=CastConfig(target_dtype=E5M2[float8]),
        # The weight's gradient sums over the rows of a micro-batch, which may be any number.
        pad_inner_dim=True,
        emulate=emulate,
    )


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """torchao warns of compiled extensions for other machines, and torch of torchao."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
