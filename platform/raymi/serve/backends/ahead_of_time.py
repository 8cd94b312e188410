"""PyTorch's compiler, into a library of this machine's instructions that runs without Python.

It is compiled anew each time: a library for the processor of one host may not run on another.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from raymi.data.preprocessing import Preprocessing
from raymi.registry.bundle import Bundle
from raymi.serve.backends.build import Build
from raymi.serve.backends.capture import blank_inputs, capture
from raymi.serve.backends.compiled import cannot_compile
from raymi.serve.backends.torch_backend import TorchBackend
from raymi.specs.backend import BackendName, ServingPrecision


class CompiledLibrary:
    """A compiled graph behind the names of its inputs."""

    def __init__(
        self, call: Callable[..., Tensor], names: tuple[str, ...], device: torch.device
    ) -> None:
        self._call = call
        self._names = names
        self._device = device

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._device

    def forward(self, inputs: Mapping[str, np.ndarray]) -> Tensor:
        """One forward pass."""
        tensors = [
            torch.from_numpy(np.ascontiguousarray(inputs[name])).to(self._device)
            for name in self._names
        ]
        with torch.inference_mode():
            return self._call(*tensors)


def open_ahead_of_time(bundle: Bundle, *, device: torch.device, build: Build) -> TorchBackend:
    """Compile a fp32 model and load what that gives; takes seconds to minutes.

    Raises:
        CapabilityError: It cannot be compiled.
    """
    precision = ServingPrecision.FP32
    with tempfile.TemporaryDirectory(prefix="raymi-compiling-") as directory:
        path = Path(directory) / "network.pt2"
        build(bundle, BackendName.AOT, precision, device=device, path=path)
        try:
            call = torch._inductor.aoti_load_package(str(path))  # noqa: SLF001 - torch's own docs
        # It may fail in any way; each of them means the same here.
        except Exception as error:
            raise cannot_compile(error) from error
    names = tuple(blank_inputs(bundle.preprocessing, 1))
    return TorchBackend(BackendName.AOT, precision, CompiledLibrary(call, names, device))


def compile_ahead_of_time(
    model: nn.Module, preprocessing: Preprocessing, *, device: torch.device, path: Path
) -> None:
    """Take over a fp32 model and write its library.

    Raises:
        CapabilityError: It cannot be compiled.
    """
    model = model.to(device).eval().requires_grad_(requires_grad=False)
    program = capture(model, preprocessing)
    try:
        with warnings.catch_warnings(action="ignore"):
            torch._inductor.aoti_compile_and_package(  # noqa: SLF001 - torch's own docs
                program, package_path=str(path)
            )
    # A compiler may fail in any way; each of them means the same here.
    except Exception as error:
        raise cannot_compile(error) from error
