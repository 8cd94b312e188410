"""Loss and metrics of a network over the validation rows, shared between workers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import nn

from raymi.train.batch import Batch
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
from raymi.train.validation_rows import ValidationRows

VALIDATION_ROWS = 1024
"""Rows in one validation forward pass, at most."""

VALIDATION_BYTES = 1 << 16
"""Bytes of text in one; each has 256 outputs, 64 MiB in all."""


class Scorer:
    """Scores one worker's share of the validation rows; all workers call it together."""

    def __init__(
        self, plan: TrainPlan, inputs: DeviceInputs, *, rank: int, world_size: int
    ) -> None:
        self._plan = plan
        self.rows = ValidationRows(plan)
        self._inputs = inputs
        self._rank = rank
        self._world_size = world_size
        longest = max((f.max_bytes for f in plan.preprocessing.bytes_features), default=1)
        self._rows_per_pass = max(1, min(VALIDATION_ROWS, VALIDATION_BYTES // longest))

    @torch.inference_mode()
    def score(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """Metrics over all validation rows, the same on every worker."""
        target = self._plan.preprocessing.target
        totals = torch.zeros(3, dtype=torch.float64, device=device)
        for batch in self._batches():
            targets = batch.targets.to(device)
            with compute_context(self._plan.spec.precision, device):
                outputs = model(self._inputs(batch.arrays))
            weights = element_weights(targets, batch.weights.to(device), target)
            totals += sum_elements(
                element_losses(outputs, targets, target),
                element_scores(outputs, targets, target),
                weights,
            )
        if self._world_size > 1:
            dist.all_reduce(totals)
        return Sums(*totals.tolist()).metrics(target)

    def _batches(self) -> Iterator[Batch]:
        """This worker's share, in as many passes as every other worker's.

        A sharded network gathers its weights in each pass, which takes everybody.
        """
        largest_share = math.ceil(self.rows.num_rows / self._world_size)
        num_passes = math.ceil(largest_share / self._rows_per_pass)
        last: Batch | None = None
        num_done = 0
        for batch in self.rows.batches(self._rank, self._world_size, self._rows_per_pass):
            last, num_done = batch, num_done + 1
            yield batch
        while last is not None and num_done < num_passes:
            num_done += 1
            yield Batch(last.arrays, last.targets, torch.zeros_like(last.weights))
