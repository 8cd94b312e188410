"""A network that is only asked, never trained: what a predictor needs of it, and PyTorch's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from raymi.accelerators.catalog import CPU
from raymi.data.preprocessing import Preprocessing
from raymi.errors import IntegrityError
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.specs.precision import Precision
from raymi.train.precision import compute_context, prepare_model


class Network(Protocol):
    """One forward pass. For one caller at a time; the same inputs give the same outputs."""

    @property
    def device(self) -> torch.device:
        """Where the outputs are."""

    def forward(self, inputs: Mapping[str, np.ndarray]) -> Tensor:
        """From what `Preprocessing.prepare` gives to raw outputs.

        Returns:
            (N, num_outputs), for `next_byte` (N, L, 256); of whatever type they were computed in.
        """


class EagerNetwork:
    """A PyTorch module, called as it is."""

    def __init__(
        self, model: nn.Module, *, precision: Precision, device: torch.device | None = None
    ) -> None:
        """Move the model to `device` (unset: an accelerator if there is one) and freeze it.

        fp8 is for training: what it trained is run in bf16, as its wide layers' neighbours were.
        """
        self._device = device or default_device()
        if precision is Precision.BF16_PURE:
            model = prepare_model(model, precision, CPU)
        self._model = model.to(self._device).eval().requires_grad_(requires_grad=False)
        self._precision = precision

    @property
    def device(self) -> torch.device:
        """Where the forward pass runs."""
        return self._device

    def forward(self, inputs: Mapping[str, np.ndarray]) -> Tensor:
        """One forward pass."""
        with torch.inference_mode(), compute_context(self._precision, self._device):
            tensors = {k: torch.from_numpy(v).to(self._device) for k, v in inputs.items()}
            outputs: Tensor = self._model(tensors)
        return outputs


def load_model(
    weights: Path,
    architecture: Architecture,
    preprocessing: Preprocessing,
    *,
    module: ModuleType | None = None,
) -> nn.Module:
    """Build a network and fill it with saved weights; fp32, on the CPU.

    Args:
        weights: A safetensors file with every parameter and buffer, and nothing else.
        architecture: What was trained.
        preprocessing: What it was trained with.
        module: Where the class of an architecture named `module:Class` is.

    Raises:
        IntegrityError: The file is damaged, or its tensors are not this network's.
        SpecError: The network cannot be built.
    """
    model = build_model(architecture, preprocessing, module=module)
    try:
        model.load_state_dict(load_file(weights), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise IntegrityError(
            f"{weights}: cannot be loaded into {architecture.name}",
            why=" ".join(str(error).split())[:300],
            fix="train again: weights and architecture belong together",
        ) from error
    return model


def default_device() -> torch.device:
    """An accelerator if this process sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
