"""The names of ways to run a trained network, and of the arithmetic each may use."""

from __future__ import annotations

from enum import StrEnum


class BackendName(StrEnum):
    """Who executes the network."""

    EAGER = "eager"
    """PyTorch, layer by layer: what evaluation uses."""

    COMPILE = "compile"
    """PyTorch's compiler, in this process."""

    AOT = "aot"
    """PyTorch's compiler, into a library that needs no Python."""

    ONNX = "onnx"
    """ONNX Runtime, on CPUs."""


class ServingPrecision(StrEnum):
    """Arithmetic of a forward pass."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    BF16_PURE = "bf16_pure"
    FP8 = "fp8"
    """Weights and activations of wide layers; bf16 around them."""
    INT8 = "int8"
    """Weights and activations of linear layers; fp32 around them. Activations are scaled by the
    largest of their batch: rows that share one move each other's answers a little."""
