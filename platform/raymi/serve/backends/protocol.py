"""What every way to run a network offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from raymi.evaluate.network import Network
from raymi.specs.backend import BackendName, ServingPrecision


class Backend(Network, Protocol):
    """A network ready to run, for a `Predictor` or alone.

    Any thread may call it, one at a time. The same inputs give the same bits every time.
    """

    @property
    def name(self) -> BackendName:
        """Who executes it."""

    @property
    def precision(self) -> ServingPrecision:
        """With which arithmetic."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """From what `Preprocessing.prepare` gives to raw outputs.

        Returns:
            float32 (N, num_outputs), for `next_byte` (N, L, 256).
        """
