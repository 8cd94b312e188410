"""PyTorch, layer by layer: what evaluation uses, so the backend that others are compared with."""

from __future__ import annotations

import torch
from torch import nn

from raymi.accelerators.catalog import Accelerator
from raymi.evaluate.network import EagerNetwork
from raymi.serve.backends.float8 import quantize_layers
from raymi.serve.backends.torch_backend import TorchBackend
from raymi.specs.backend import BackendName, ServingPrecision
from raymi.specs.precision import Precision


def open_eager(
    model: nn.Module,
    precision: ServingPrecision,
    *,
    device: torch.device,
    accelerator: Accelerator,
) -> TorchBackend:
    """Take over a fp32 model.

    Raises:
        CapabilityError: fp8 can do nothing for this network.
    """
    network = eager_network(model, precision, device=device, accelerator=accelerator)
    return TorchBackend(BackendName.EAGER, precision, network)


def eager_network(
    model: nn.Module,
    precision: ServingPrecision,
    *,
    device: torch.device,
    accelerator: Accelerator,
) -> EagerNetwork:
    """The model with its layers in the types that a precision means.

    Raises:
        CapabilityError: fp8 can do nothing for this network.
    """
    if precision is ServingPrecision.FP8:
        # Everything but the wide layers is bf16, and quantisation by row asks for bf16 as well.
        network = EagerNetwork(model, precision=Precision.BF16_PURE, device=device)
        quantize_layers(model, accelerator)
        return network
    return EagerNetwork(model, precision=Precision(precision.value), device=device)
