"""How noisy a run's gradients are, from gradients that its steps compute anyway.

The square of a gradient over B rows is |G|^2 + tr(S) / B on average, with the true gradient G and
the covariance S of one row's. Each measured step has two of them, of a small and a large B,
and so both unknowns (McCandlish et al., "An Empirical Model of Large-Batch Training", arXiv
1812.06162, appendix A.1). Their ratio says which batch sizes are worth their rows.

Squares are averaged before they are solved for, by plain means over all measured steps: each
step by itself is far too noisy, and a quotient of noisy numbers has no mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge
from torch.utils.hooks import RemovableHandle

EVERY_STEPS = 10
"""Optimizer steps from one that is measured to the next."""


@dataclass(frozen=True, slots=True)
class NoiseScale:
    """What was found, averaged over the measured steps."""

    gradient_square: float
    """|G|^2; below 0 where noise hides the gradient."""

    noise_trace: float
    """tr(S), of one row."""

    num_estimates: int
    """Steps that were measured."""


class NoiseMeter:
    """Measures some steps of one worker; waits for no device and no other worker until the end.

    Args:
        global_batch_size: Rows of a whole step. Others, at the end of an epoch, are left out.
        device: Where the gradients are.
    """

    def __init__(self, *, global_batch_size: int, device: torch.device) -> None:
        self._global_batch_size = global_batch_size
        # Squares of the small and of the large gradient, 1 / rows of the small one, and 1.
        self._sums = torch.zeros(4, dtype=torch.float64, device=device)
        self._next_step = EVERY_STEPS - 1
        self._arrivals: list[Node] = []
        self._handles: list[RemovableHandle] = []
        self._heard: list[Tensor] = []
        self._small: Tensor | None = None
        self._small_rows = 1.0

    def starts(self, step: int, num_rows: int) -> bool:
        """Whether this optimizer step, counted from 0, is one to measure."""
        self._small = None
        # A partial step is passed over for the next: it may be the tenth in every epoch.
        if step < self._next_step or num_rows < self._global_batch_size:
            return False
        self._next_step = step + EVERY_STEPS
        return True

    def listen(self, parameters: Iterable[nn.Parameter]) -> None:
        """Hear this worker's own gradients in the coming backward pass, before they are averaged.

        Not where they are averaged: what DDP lets look on there cannot be removed again, and
        costs every step.
        """
        # Kept, because a parameter itself does not keep where its gradient arrives.
        self._arrivals = [get_gradient_edge(p).node for p in parameters if p.requires_grad]
        self._handles = [node.register_prehook(self._hear) for node in self._arrivals]

    def _hear(self, gradients: tuple[Tensor, ...]) -> None:
        # At once, because to keep them would take the memory of a second gradient.
        self._heard.append(square(gradients))

    def small(self, small: Tensor | None, *, num_rows: float, scale: Tensor | float) -> None:
        """The gradient of a step's first micro-batch, if it has any rows.

        Args:
            small: Its square; None: what was heard.
            num_rows: Rows of the micro-batch.
            scale: Times this, it is the gradient of the mean loss of the micro-batch.
        """
        for handle in self._handles:
            handle.remove()
        if small is None:
            small = torch.stack(self._heard).sum()
        self._arrivals, self._handles, self._heard = [], [], []
        if num_rows > 0:
            self._small, self._small_rows = small * scale**2, num_rows

    def large(self, large: Tensor) -> None:
        """The square of the gradient of the global batch's mean loss, at the end of a step."""
        small = self._small
        if small is None:
            return
        rows = torch.full_like(small, 1.0 / self._small_rows)
        found = torch.stack([small, large, rows, torch.ones_like(small)])
        # What is infinite is left out without looking: that would wait for an accelerator.
        self._sums += torch.where((small + large).isfinite(), found, 0.0)

    def result(self, *, world_size: int, group: dist.ProcessGroup | None) -> NoiseScale | None:
        """Both unknowns; None if nothing was measured. All workers call it together.

        Their number of estimates is this worker's: a micro-batch may be all padding on any but
        the first.
        """
        sums = self._sums.clone()
        if world_size > 1:
            dist.all_reduce(sums, group=group)
        small, large, inverse_rows, count = sums.tolist()
        if count == 0:
            return None
        return solve(
            small / count,
            large / count,
            small_rows=count / inverse_rows,
            large_rows=self._global_batch_size,
            num_estimates=int(self._sums[3]),
        )


def solve(
    small: float, large: float, *, small_rows: float, large_rows: float, num_estimates: int
) -> NoiseScale | None:
    """Both unknowns from the mean squares of gradients over few and over many rows.

    >>> solve(6.0, 3.0, small_rows=2.0, large_rows=8.0, num_estimates=1)
    NoiseScale(gradient_square=2.0, noise_trace=8.0, num_estimates=1)
    """
    if small_rows >= large_rows:
        return None
    return NoiseScale(
        gradient_square=(large_rows * large - small_rows * small) / (large_rows - small_rows),
        noise_trace=(small - large) / (1.0 / small_rows - 1.0 / large_rows),
        num_estimates=num_estimates,
    )


def square(tensors: Sequence[Tensor]) -> Tensor:
    """The sum of the squares of all numbers, float32, whatever the type of the tensors."""
    # Not `get_total_norm`, which knows no type but the tensors' own.
    norms = torch._foreach_norm(list(tensors), 2.0, dtype=torch.float32)  # noqa: SLF001
    return torch.stack(norms).square().sum()
