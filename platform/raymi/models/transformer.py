"""The block that transformers repeat: pre-norm attention, then a pre-norm perceptron."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

INIT_STD = 0.02
"""Spread of initial weights, as in GPT-2 (Radford et al. 2019)."""


class Block(nn.Module):
    """Self-attention and a perceptron four times as wide, each added to what it read."""

    def __init__(self, width: int, *, num_heads: int, dropout: float, is_causal: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.is_causal = is_causal
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron_in = nn.Linear(width, 4 * width)
        self.perceptron_out = nn.Linear(4 * width, width)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (N, L, width) to the same shape.

        Args:
            states: What each position knows.
            mask: Positions that may be looked at, bool (N, 1, 1, L); None: all of them, or for
                a causal block those up to each position itself.
        """
        attended = self._attend(self.attention_norm(states), mask)
        states = states + functional.dropout(attended, self.dropout, self.training)
        hidden = functional.gelu(self.perceptron_in(self.perceptron_norm(states)))
        added = functional.dropout(self.perceptron_out(hidden), self.dropout, self.training)
        return states + added

    def _attend(self, states: Tensor, mask: Tensor | None) -> Tensor:
        num_rows, length, width = states.shape
        heads = self.queries_keys_values(states).view(num_rows, length, 3, self.num_heads, -1)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=self.is_causal,
        )
        out: Tensor = self.attention_out(mixed.transpose(1, 2).reshape(num_rows, length, width))
        return out


def build_blocks(
    width: int, *, num_layers: int, num_heads: int, dropout: float, is_causal: bool
) -> nn.ModuleList:
    """The blocks of one network.

    Raises:
        ValueError: The width is not a multiple of the heads, or there are no layers.
    """
    if num_layers < 1 or num_heads < 1 or width % num_heads:
        raise ValueError(
            f"width {width} must be a multiple of num_heads {num_heads}, "
            f"and num_layers {num_layers} at least 1"
        )
    return nn.ModuleList(
        Block(width, num_heads=num_heads, dropout=dropout, is_causal=is_causal)
        for _ in range(num_layers)
    )


def initialise(model: nn.Module, *, num_layers: int) -> None:
    """Draw GPT-2's initial weights.

    Normal with `INIT_STD`, biases 0; what a block adds to its input is drawn smaller by
    sqrt(2 x layers), so that the sum over all layers keeps its size.
    """
    # modules() gives parents first; reversed, a block draws again what its layers have drawn.
    for module in reversed(list(model.modules())):
        if isinstance(module, nn.Linear | nn.Embedding | nn.EmbeddingBag):
            nn.init.normal_(module.weight, std=INIT_STD)
        if isinstance(module, nn.EmbeddingBag) and module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, Block):
            for added in (module.attention_out, module.perceptron_out):
                nn.init.normal_(added.weight, std=INIT_STD / math.sqrt(2 * num_layers))
