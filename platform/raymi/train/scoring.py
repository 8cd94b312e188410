"""Loss and metrics of a network over the rows of a split, shared between workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from raymi.data.version import Split
from raymi.train.evaluation_rows import EvaluationRows
from raymi.train.inputs import DeviceInputs
from raymi.train.objective import (
    Sums,
    element_losses,
    element_scores,
    element_weights,
    sum_elements,
)
from raymi.train.plan import TrainPlan
from raymi.train.precision import compute_context


class Answers(NamedTuple):
    """What a network says about the rows of one pass; all on its device."""

    outputs: Tensor
    """(N, num_outputs), for `next_byte` (N, L, 256)."""

    targets: Tensor
    """As `Preprocessing.encode_target` gives them."""

    weights: Tensor
    """How much each element counts, in the shape of `targets`: 0 for padding."""


class Scorer:
    """Scores one worker's share of a split; all workers call it together."""

    def __init__(
        self, plan: TrainPlan, inputs: DeviceInputs, split: Split, *, rank: int, world_size: int
    ) -> None:
        self.target = plan.preprocessing.target
        self.split = split
        self.rank = rank
        self.world_size = world_size
        self.rows = EvaluationRows(plan, split)
        self._precision = plan.spec.precision
        self._inputs = inputs

    @torch.inference_mode()
    def score(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """Metrics over all rows of the split, the same on every worker."""
        totals = torch.zeros(3, dtype=torch.float64, device=device)
        for outputs, targets, weights in self.answers(model, device):
            totals += sum_elements(
                element_losses(outputs, targets, self.target),
                element_scores(outputs, targets, self.target),
                weights,
            )
        if self.world_size > 1:
            dist.all_reduce(totals)
        return Sums(*totals.tolist()).metrics(self.target)

    def answers(self, model: nn.Module, device: torch.device) -> Iterator[Answers]:
        """This worker's share in the precision of the run, pass by pass.

        Every worker has as many passes as the others; those beyond its share count for nothing.
        """
        for batch in self.rows.passes(self.rank, self.world_size):
            targets = batch.targets.to(device)
            with compute_context(self._precision, device):
                outputs = model(self._inputs(batch.arrays))
            weights = element_weights(targets, batch.weights.to(device), self.target)
            yield Answers(outputs, targets, weights)
