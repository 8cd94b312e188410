"""A multi-layer perceptron over any mix of numbers, categories, tensors and text."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from raymi.data.preprocessing import Preprocessing


class Mlp(nn.Module):
    """Embeds every input, concatenates, and applies hidden layers with LayerNorm."""

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        hidden: tuple[int, ...],
        dropout: float,
        text_width: int,
    ) -> None:
        super().__init__()
        self.tensor_names = [f"tensor:{f.column}" for f in preprocessing.tensors]
        self.token_names = [f"tokens:{f.column}" for f in preprocessing.texts]
        cardinalities = [len(f.vocabulary) + 1 for f in preprocessing.categories]
        widths = [_embedding_width(cardinality) for cardinality in cardinalities]
        self.category_embeddings = nn.ModuleList(
            nn.Embedding(cardinality, width)
            for cardinality, width in zip(cardinalities, widths, strict=True)
        )
        self.text_embeddings = nn.ModuleList(
            nn.EmbeddingBag(f.num_buckets, text_width, mode="mean", padding_idx=0)
            for f in preprocessing.texts
        )
        width = 3 * len(preprocessing.numbers) + sum(widths)
        width += sum(math.prod(f.shape) for f in preprocessing.tensors)
        width += text_width * len(preprocessing.texts)
        self.blocks = nn.ModuleList()
        for size in hidden:
            self.blocks.append(
                nn.Sequential(
                    nn.Linear(width, size), nn.LayerNorm(size), nn.GELU(), nn.Dropout(dropout)
                )
            )
            width = size
        self.head = nn.Linear(width, preprocessing.num_outputs)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map model inputs of N rows to (N, num_outputs)."""
        parts: list[Tensor] = []
        if "numbers" in inputs:
            parts.append(inputs["numbers"])
        for index, embedding in enumerate(self.category_embeddings):
            parts.append(embedding(inputs["categories"][:, index]))
        parts += [inputs[name].flatten(1) for name in self.tensor_names]
        for name, bag in zip(self.token_names, self.text_embeddings, strict=True):
            parts.append(bag(inputs[name].flatten(1)))
        states = torch.cat(parts, dim=1)
        for block in self.blocks:
            states = block(states)
        outputs: Tensor = self.head(states)
        return outputs


def build_mlp(
    preprocessing: Preprocessing,
    *,
    hidden: list[int] | None = None,
    dropout: float = 0.1,
    text_width: int = 64,
) -> Mlp:
    """Build a perceptron; `hidden` defaults to two layers of 128."""
    return Mlp(
        preprocessing,
        hidden=tuple(hidden if hidden is not None else (128, 128)),
        dropout=dropout,
        text_width=text_width,
    )


def _embedding_width(cardinality: int) -> int:
    """Width of a category's embedding: grows with the root of its values, at most 32."""
    return min(32, 1 + math.isqrt(4 * cardinality))
