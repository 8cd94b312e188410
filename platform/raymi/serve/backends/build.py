"""From a network to the one file that a backend runs, in this process.

To trace a network makes PyTorch's compiler forget all that it has compiled in the process. So one
that answers requests has it done by `raymi.serve.backends.build_elsewhere`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch

from raymi.registry.bundle import Bundle
from raymi.specs.backend import BackendName, ServingPrecision

HAVE_A_FILE = (BackendName.AOT, BackendName.ONNX)
"""The backends that run a file."""


class Build(Protocol):
    """Writes the file of the backend `aot` or `onnx`; takes seconds to minutes."""

    def __call__(
        self,
        bundle: Bundle,
        name: BackendName,
        precision: ServingPrecision,
        *,
        device: torch.device,
        path: Path,
    ) -> None:
        """Write it.

        Args:
            bundle: The model.
            name: Who is to run it.
            precision: With which arithmetic.
            device: Where it is to run.
            path: The file; its directory is there.

        Raises:
            CapabilityError: The network cannot be compiled or converted.
            IntegrityError: The weights are not this network's.
        """


def build_here(
    bundle: Bundle,
    name: BackendName,
    precision: ServingPrecision,
    *,
    device: torch.device,
    path: Path,
) -> None:
    """A `Build`."""
    if name is BackendName.ONNX:
        from raymi.serve.backends.onnx_conversion import convert

        path.write_bytes(convert(bundle, precision))
    elif name is BackendName.AOT:
        from raymi.serve.backends.ahead_of_time import compile_ahead_of_time

        compile_ahead_of_time(bundle.model(), bundle.preprocessing, device=device, path=path)
    else:
        raise ValueError(f"the backend {name} has no file")
