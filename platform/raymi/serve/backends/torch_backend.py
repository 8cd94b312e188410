"""Backends whose network is PyTorch's, whatever has been done to it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from raymi.evaluate.network import Network
from raymi.specs.backend import BackendName, ServingPrecision


class TorchBackend:
    """A network with a name and a precision."""

    def __init__(self, name: BackendName, precision: ServingPrecision, network: Network) -> None:
        self._name = name
        self._precision = precision
        self._network = network

    @property
    def name(self) -> BackendName:
        """Who executes it."""
        return self._name

    @property
    def precision(self) -> ServingPrecision:
        """With which arithmetic."""
        return self._precision

    @property
    def device(self) -> torch.device:
        """Where the outputs are."""
        return self._network.device

    def forward(self, inputs: Mapping[str, np.ndarray]) -> torch.Tensor:
        """One forward pass; the outputs stay on the device."""
        return self._network.forward(inputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """One forward pass; float32."""
        outputs: np.ndarray = self.forward(inputs).float().cpu().numpy()
        return outputs
