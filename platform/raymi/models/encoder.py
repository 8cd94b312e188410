"""A transformer that reads all columns of a row at once: words, numbers, categories, tensors."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from raymi.data.preprocessing import NextByteTarget, Preprocessing, TensorFeature, TextFeature
from raymi.models.transformer import build_blocks, initialise

Pooling = Literal["mean", "cls"]

_NUMBER_PARTS = 3
"""Inputs that a number has: z-score, rank, is missing."""


class Numbers(nn.Module):
    """A position for each number (Gorishniy et al., arXiv 2106.11959)."""

    def __init__(self, num_numbers: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(_NUMBER_PARTS, num_numbers, width))
        self.biases = nn.Parameter(torch.empty(num_numbers, width))
        for parameter in (self.weights, self.biases):
            nn.init.normal_(parameter, std=1 / math.sqrt(_NUMBER_PARTS))

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states (N, F, width), all of which count."""
        numbers = inputs["numbers"]
        parts = numbers.view(len(numbers), _NUMBER_PARTS, -1)
        states = torch.einsum("npf,pfw->nfw", parts, self.weights) + self.biases
        return states, _all_count(states)


class Categories(nn.Module):
    """A position for each categorical column."""

    def __init__(self, cardinalities: list[int], width: int) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, width) for size in cardinalities)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states (N, K, width), all of which count."""
        columns = inputs["categories"].unbind(1)
        states = torch.stack(
            [embed(column) for embed, column in zip(self.embeddings, columns, strict=True)], dim=1
        )
        return states, _all_count(states)


class Picture(nn.Module):
    """One position for a fixed-shape block of numbers."""

    def __init__(self, feature: TensorFeature, width: int) -> None:
        super().__init__()
        self.name = f"tensor:{feature.column}"
        self.linear = nn.Linear(math.prod(feature.shape), width)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states (N, 1, width), all of which count."""
        states = self.linear(inputs[self.name].flatten(1)).unsqueeze(1)
        return states, _all_count(states)


class Words(nn.Module):
    """A position for each word of a text: the sum of its hashes' embeddings, and its place."""

    def __init__(
        self, feature: TextFeature, width: int, *, max_words: int, word_dropout: float
    ) -> None:
        super().__init__()
        self.name = f"tokens:{feature.column}"
        self.word_dropout = word_dropout
        self.max_words = min(max_words, feature.max_words)
        self.hashes = nn.EmbeddingBag(feature.num_buckets, width, mode="sum", padding_idx=0)
        self.places = nn.Embedding(self.max_words, width)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states (N, W, width) and which of them are words, bool (N, W)."""
        tokens = inputs[self.name][:, : self.max_words]
        num_rows, num_words, num_grams = tokens.shape
        states = self.hashes(tokens.reshape(-1, num_grams)).view(num_rows, num_words, -1)
        places = torch.arange(num_words, device=tokens.device)
        are_words = tokens[:, :, 0] != 0
        if self.training and self.word_dropout:
            kept = torch.rand(are_words.shape, device=tokens.device) >= self.word_dropout
            are_words = are_words & kept
        return states + self.places(places), are_words


class Encoder(nn.Module):
    """Every position looks at every other but padding; their mean, or an extra one, answers."""

    def __init__(
        self,
        readers: nn.ModuleList,
        blocks: nn.ModuleList,
        *,
        width: int,
        num_outputs: int,
        dropout: float,
        pooling: Pooling,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.pooling = pooling
        self.readers = readers
        # Always there, so that a row of nothing but padding has something to look at.
        self.first = nn.Parameter(torch.zeros(width))
        self.input_norm = nn.LayerNorm(width)
        self.blocks = blocks
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_outputs)
        initialise(self, num_layers=len(blocks))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map model inputs of N rows to (N, num_outputs)."""
        num_rows = len(next(iter(inputs.values())))
        first = self.first.expand(num_rows, 1, -1)
        read = [(first, _all_count(first)), *(reader(inputs) for reader in self.readers)]
        counts = torch.cat([which for _, which in read], dim=1)
        states = self.input_norm(torch.cat([part for part, _ in read], dim=1))
        states = functional.dropout(states, self.dropout, self.training)
        for block in self.blocks:
            states = block(states, counts[:, None, None, :])
        pooled = self._pool(self.norm(states), counts)
        outputs: Tensor = self.head(functional.dropout(pooled, self.dropout, self.training))
        return outputs

    def _pool(self, states: Tensor, counts: Tensor) -> Tensor:
        if self.pooling == "cls":
            return states[:, 0]
        weights = counts.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)


def build_encoder(  # noqa: PLR0913 - one parameter per argument of a spec's `model`
    preprocessing: Preprocessing,
    *,
    num_layers: int = 2,
    num_heads: int = 4,
    width: int = 128,
    dropout: float = 0.1,
    word_dropout: float = 0.0,
    pooling: Pooling = "mean",
    max_words: int = 64,
) -> Encoder:
    """Build a bidirectional encoder.

    Args:
        preprocessing: What it reads and predicts.
        num_layers: Blocks.
        num_heads: Attention heads in each.
        width: Of every position's state.
        dropout: Share of numbers dropped in states and attention while training.
        word_dropout: Share of words that are overlooked while training.
        pooling: `mean` of all positions answers, or an extra first one, `cls`.
        max_words: Words of each text that are read, at most.

    Raises:
        ValueError: The target is `next_byte`, the pooling is unknown, or the width does not
            fit the heads.
    """
    if isinstance(preprocessing.target, NextByteTarget):
        raise ValueError("encoder sees the whole text, so it cannot predict the next byte; use gpt")
    if pooling not in ("mean", "cls"):
        raise ValueError(f"pooling is `mean` or `cls`, not {pooling!r}")
    if max_words < 1:
        raise ValueError(f"max_words must be at least 1, not {max_words}")
    readers = nn.ModuleList()
    if preprocessing.numbers:
        readers.append(Numbers(len(preprocessing.numbers), width))
    if preprocessing.categories:
        cardinalities = [len(f.vocabulary) + 1 for f in preprocessing.categories]
        readers.append(Categories(cardinalities, width))
    readers.extend(Picture(feature, width) for feature in preprocessing.tensors)
    readers.extend(
        Words(feature, width, max_words=max_words, word_dropout=word_dropout)
        for feature in preprocessing.texts
    )
    blocks = build_blocks(
        width, num_layers=num_layers, num_heads=num_heads, dropout=dropout, is_causal=False
    )
    return Encoder(
        readers,
        blocks,
        width=width,
        num_outputs=preprocessing.num_outputs,
        dropout=dropout,
        pooling=pooling,
    )


def _all_count(states: Tensor) -> Tensor:
    return torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
