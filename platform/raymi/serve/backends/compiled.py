"""PyTorch's compiler, in this process: compiled when opened, for batches of any size."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from raymi.accelerators.catalog import Accelerator
from raymi.data.preprocessing import Preprocessing
from raymi.errors import CapabilityError
from raymi.serve.backends.capture import blank_inputs
from raymi.serve.backends.eager import eager_network
from raymi.serve.backends.torch_backend import TorchBackend
from raymi.specs.backend import BackendName, ServingPrecision

_BATCHES = (1, 2, 64)
"""A batch of one row is compiled for itself, and convolutions choose another way from 16 rows."""


def open_compiled(
    model: nn.Module,
    preprocessing: Preprocessing,
    precision: ServingPrecision,
    *,
    device: torch.device,
    accelerator: Accelerator,
) -> TorchBackend:
    """Take over a fp32 model and compile it; takes seconds to minutes.

    Raises:
        CapabilityError: It cannot be compiled.
    """
    network = eager_network(model, precision, device=device, accelerator=accelerator)
    backend = TorchBackend(BackendName.COMPILE, precision, network)
    try:
        # What the compiler finds deprecated is between it and itself.
        with warnings.catch_warnings(action="ignore"):
            model.compile(dynamic=True)
            for num_rows in _BATCHES:
                backend.run(blank_inputs(preprocessing, num_rows))
    # A compiler may fail in any way; each of them means the same here.
    except Exception as error:
        raise cannot_compile(error) from error
    return backend


def cannot_compile(error: Exception) -> CapabilityError:
    """The error for a network that a compiler does not take."""
    return CapabilityError(
        "backend: the network cannot be compiled",
        why=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
        fix="use the backend `eager`, or `onnx` on a CPU",
    )
