"""What all workers of a run decide together, between two steps.

Clocks and signals differ between workers, collectives must not: one all-reduce now and then
carries everybody's wishes, and everybody acts on the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist

MEETING_INTERVAL_S = 0.5
"""Aimed-at time between two meetings: how late a run may notice that it should leave."""

MAX_STEPS_APART = 1000


class Council:
    """Meets every so many steps; the first worker's clock says how many."""

    def __init__(self, world_size: int, device: torch.device) -> None:
        self._world_size = world_size
        self._device = device
        self._next_step = 0
        self._met_step = 0
        self._busy_s = 0.0

    def count(self, duration_s: float) -> None:
        """One step took this long; time between steps does not count."""
        self._busy_s += duration_s

    def is_due(self, step: int) -> bool:
        """Whether the workers meet after this step; the same on every worker."""
        return step >= self._next_step

    def meet(self, step: int, wishes: Sequence[int], *, is_chief: bool) -> list[int]:
        """The largest of every wish over all workers; each is a small number, 0 for none.

        Every worker calls this at the same step.
        """
        interval = self._interval(step) if is_chief else 0
        answers = self.largest([*wishes, interval])
        self._next_step = step + max(1, answers.pop())
        self._met_step, self._busy_s = step, 0.0
        return answers

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """Element by element, over all workers."""
        if self._world_size == 1:
            return list(numbers)
        message = torch.tensor(list(numbers), dtype=torch.int64, device=self._device)
        dist.all_reduce(message, op=dist.ReduceOp.MAX)
        answers: list[int] = message.tolist()
        return answers

    def _interval(self, step: int) -> int:
        """Steps to the next meeting, at the pace since the last one."""
        num_steps = step - self._met_step
        if num_steps <= 0:
            return 1
        seconds_per_step = max(self._busy_s / num_steps, 1e-6)
        # At most double: the first steps of a run are slower than the rest.
        return min(round(MEETING_INTERVAL_S / seconds_per_step), 2 * num_steps, MAX_STEPS_APART)
