"""A causal transformer over the bytes of a text: at each one it says which comes next."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from raymi.data.preprocessing import NUM_BYTES, NextByteTarget, Preprocessing
from raymi.models.transformer import build_blocks, initialise


class Gpt(nn.Module):
    """GPT-2's shape (Radford et al. 2019) with bytes for tokens."""

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        num_layers: int,
        num_heads: int,
        width: int,
        dropout: float,
        tied: bool,
    ) -> None:
        super().__init__()
        (feature,) = preprocessing.bytes_features
        self.name = f"bytes:{feature.column}"
        self.dropout = dropout
        self.byte_embedding = nn.Embedding(NUM_BYTES, width)
        self.position_embedding = nn.Embedding(feature.max_bytes, width)
        self.blocks = build_blocks(
            width, num_layers=num_layers, num_heads=num_heads, dropout=dropout, is_causal=True
        )
        self.norm = nn.LayerNorm(width)
        # Tied weights have one name, not two: files of weights hold every tensor once.
        self.head = None if tied else nn.Linear(width, NUM_BYTES, bias=False)
        initialise(self, num_layers=num_layers)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map N texts of L bytes to (N, L, 256): after each byte, what follows."""
        octets = inputs[self.name]
        positions = torch.arange(octets.shape[1], device=octets.device)
        states = self.byte_embedding(octets) + self.position_embedding(positions)
        states = functional.dropout(states, self.dropout, self.training)
        for block in self.blocks:
            states = block(states)
        states = self.norm(states)
        if self.head is None:
            return functional.linear(states, self.byte_embedding.weight)
        outputs: Tensor = self.head(states)
        return outputs


def build_gpt(
    preprocessing: Preprocessing,
    *,
    num_layers: int = 4,
    num_heads: int = 4,
    width: int = 128,
    dropout: float = 0.0,
    tied: bool = True,
) -> Gpt:
    """Build a byte-level language model; `tied`: one matrix embeds bytes and predicts them.

    Raises:
        ValueError: The target is not `next_byte`, or the width does not fit the heads.
    """
    if not isinstance(preprocessing.target, NextByteTarget):
        raise ValueError(
            f"gpt predicts the next byte of a text, this target is {preprocessing.target.kind}; "
            "say task='next_byte' in the problem"
        )
    return Gpt(
        preprocessing,
        num_layers=num_layers,
        num_heads=num_heads,
        width=width,
        dropout=dropout,
        tied=tied,
    )
