"""PyTorch's compiler, in this process: compiled when opened, for batches of any size."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from raymi.accelerators.catalog import Accelerator
from raymi.data.preprocessing import Preprocessing
from raymi.errors import CapabilityError
from raymi.serve.backends.capture import blank_inputs
from raymi.serve.backends.eager import eager_network
from raymi.serve.backends.torch_backend import TorchBackend
from raymi.specs.backend import BackendName, ServingPrecision

_BATCHES = (1, 2, 64)
"""A batch of one row is compiled for itself, and convolutions choose another way from 16 rows."""

_numbers = itertools.count()


class CompiledModule(nn.Module):
    """A module that only ever runs compiled, as one graph.

    The compiler counts what it has compiled by code object, and from the ninth on it runs Python
    instead and tells nobody: the versions of a replica must not share one. What it cannot compile
    as a whole is an error here for the same reason.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._call: Callable[[Mapping[str, Tensor]], Tensor] = torch.compile(
            _call_of_its_own(model), dynamic=True, fullgraph=True
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """One forward pass."""
        return self._call(inputs)


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
    compiled = CompiledModule(model)
    network = eager_network(compiled, precision, device=device, accelerator=accelerator)
    backend = TorchBackend(BackendName.COMPILE, precision, network)
    try:
        # What the compiler finds deprecated is between it and itself.
        with warnings.catch_warnings(action="ignore"):
            for num_rows in _BATCHES:
                backend.run(blank_inputs(preprocessing, num_rows))
    # A compiler may fail in any way; each of them means the same here.
    except Exception as error:
        raise cannot_compile(error) from error
    return backend


def _call_of_its_own(model: nn.Module) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """A function that calls the model, with a code object that no other model has."""

    def call(inputs: Mapping[str, Tensor]) -> Tensor:
        outputs: Tensor = model(inputs)
        return outputs

    call.__code__ = call.__code__.replace(co_name=f"call_{next(_numbers)}")
    return call


def cannot_compile(error: Exception) -> CapabilityError:
    """The error for a network that a compiler does not take."""
    return CapabilityError(
        "backend: the network cannot be compiled",
        why=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
        fix="use the backend `eager`, or `onnx` on a CPU",
    )
