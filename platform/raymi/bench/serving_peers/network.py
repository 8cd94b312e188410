"""The model that everybody serves: the catalog's perceptron in plain torch, from its weights."""

from __future__ import annotations

import os
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

WEIGHTS = "BENCH_WEIGHTS"
"""Environment variable with the safetensors file."""

SCALE = "BENCH_SCALE"
"""Environment variable with mean and standard deviation of the inputs, separated by a space."""


class Network:
    """Rows to labels and probabilities, as every server here answers them."""

    def __init__(self) -> None:
        """Load the weights that the environment names; one thread a process."""
        torch.set_num_threads(1)
        state = load_file(os.environ[WEIGHTS])
        self._mean, self._std = (float(text) for text in os.environ[SCALE].split())
        layers: list[nn.Module] = []
        index = 0
        while f"blocks.{index}.0.weight" in state:
            size, width = state[f"blocks.{index}.0.weight"].shape
            layers += [nn.Linear(width, size), nn.LayerNorm(size), nn.GELU()]
            index += 1
        layers.append(nn.Linear(state["head.weight"].shape[1], state["head.weight"].shape[0]))
        self._model = nn.Sequential(*layers).eval().requires_grad_(requires_grad=False)
        self._model.load_state_dict({_place(name, index): state[name] for name in state})

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Probabilities (N, C) of raw inputs (N, F)."""
        with torch.inference_mode():
            return torch.softmax(self._model((rows - self._mean) / self._std), dim=1)

    def predict(self, rows: list[list[float]]) -> list[dict[str, Any]]:
        """One object a row."""
        highest, labels = self.forward(torch.tensor(rows)).max(dim=1)
        return [
            {"label": label, "probability": probability}
            for label, probability in zip(labels.tolist(), highest.tolist(), strict=True)
        ]


def _place(name: str, num_blocks: int) -> str:
    """Where a weight of the catalog's perceptron goes: three modules a block, then the head.

    >>> _place("blocks.1.0.weight", 2), _place("head.bias", 2)
    ('3.weight', '6.bias')
    """
    group, *inner, leaf = name.split(".")
    if group == "head":
        return f"{3 * num_blocks}.{leaf}"
    block, module = map(int, inner)
    return f"{3 * block + module}.{leaf}"
