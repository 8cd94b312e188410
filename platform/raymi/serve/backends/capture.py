"""A network as a graph for any number of rows: where compilation and conversion begin."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raymi.data.preprocessing import Arrays, Preprocessing
from raymi.errors import CapabilityError

_NUM_ROWS = 3
"""Of the inputs it is traced with; 0 and 1 would be taken for constants."""


class Positional(nn.Module):
    """A network that takes its inputs one by one, in the order of `names`."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs: Tensor) -> Tensor:
        """One forward pass."""
        outputs: Tensor = self.model(dict(zip(self.names, inputs, strict=True)))
        return outputs


def capture(model: nn.Module, preprocessing: Preprocessing) -> torch.export.ExportedProgram:
    """Trace a model into a graph of `Positional` inputs.

    Raises:
        CapabilityError: Its code cannot be traced, or asks for a certain number of rows.
    """
    inputs = blank_inputs(preprocessing, _NUM_ROWS)
    device = next(model.parameters()).device
    tensors = tuple(torch.from_numpy(array).to(device) for array in inputs.values())
    rows = torch.export.Dim("rows")
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.export.export(
                Positional(model, tuple(inputs)).eval(),
                tensors,
                dynamic_shapes=(({0: rows},) * len(tensors),),
                # Follows Python's `len`, which otherwise makes the number of rows a constant.
                strict=True,
            )
    # Somebody's own network may fail in any way; each of them means the same here.
    except Exception as error:
        raise CapabilityError(
            "backend: the network cannot be turned into a graph",
            why=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            fix="write its `forward` without data-dependent Python, or use the backend `eager`",
        ) from error


def blank_inputs(preprocessing: Preprocessing, num_rows: int) -> Arrays:
    """What `Preprocessing.prepare` gives for rows of zeros and nothing."""
    arrays: Arrays = {}
    if preprocessing.numbers:
        arrays["numbers"] = np.zeros((num_rows, len(preprocessing.numbers)))
    if preprocessing.categories:
        arrays["categories"] = np.zeros((num_rows, len(preprocessing.categories)), np.int32)
    for tensor in preprocessing.tensors:
        arrays[f"tensor:{tensor.column}"] = np.zeros((num_rows, *tensor.shape), np.float32)
    for text in preprocessing.texts:
        shape = (num_rows, text.max_words, text.num_grams)
        arrays[f"tokens:{text.column}"] = np.zeros(shape, np.int32)
    for raw in preprocessing.bytes_features:
        arrays[f"bytes:{raw.column}"] = np.zeros((num_rows, raw.max_bytes), np.uint8)
    return preprocessing.prepare(arrays)


class GatheredBag(nn.Module):
    """An `EmbeddingBag` of fixed-size bags, out of operations that every runtime is fast at."""

    def __init__(self, bag: nn.EmbeddingBag) -> None:
        super().__init__()
        self.weight = bag.weight
        self.padding_idx = bag.padding_idx
        self.is_mean = bag.mode == "mean"

    def forward(self, indices: Tensor) -> Tensor:
        """Map bags (B, G) to their sums or means (B, width)."""
        embedded = functional.embedding(indices, self.weight)
        if self.padding_idx is None:
            return embedded.mean(dim=1) if self.is_mean else embedded.sum(dim=1)
        counts = (indices != self.padding_idx).unsqueeze(-1).to(embedded.dtype)
        total = (embedded * counts).sum(dim=1)
        return total / counts.sum(dim=1).clamp_min(1.0) if self.is_mean else total


def without_bags(model: nn.Module) -> nn.Module:
    """Replace every `EmbeddingBag`, in place; converters make a loop over all rows of one."""
    for name, child in list(model.named_children()):
        if isinstance(child, nn.EmbeddingBag) and _is_plain(child):
            setattr(model, name, GatheredBag(child))
        else:
            without_bags(child)
    return model


def _is_plain(bag: nn.EmbeddingBag) -> bool:
    return bag.mode in ("sum", "mean") and bag.max_norm is None
