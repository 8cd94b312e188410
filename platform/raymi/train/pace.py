"""When it is time for a progress line or a checkpoint, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable

from raymi.specs.train import CheckpointSpec

PROGRESS_INTERVAL_S = 1.0
"""Between two progress events; each costs one wait for the device."""

EPOCH_CHECKPOINT_INTERVAL_S = 10.0
"""Least time between two end-of-epoch checkpoints, so that short epochs are not all saving."""


class Pace:
    """Clocks of one attempt."""

    def __init__(
        self,
        spec: CheckpointSpec,
        *,
        total_steps: int,
        start: int,
        elapsed_s: float = 0.0,
        report_interval_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._total_steps = total_steps
        self._start = start
        self._earlier_s = elapsed_s
        self._report_interval_s = report_interval_s
        self._clock = clock
        self._began_at = clock()
        self._progress_at = self._began_at
        self._reported_at = self._began_at
        self._saved_at = self._began_at

    def elapsed_s(self) -> float:
        """Seconds of training behind the current state, earlier attempts included."""
        return self._earlier_s + self._clock() - self._began_at

    def eta_s(self, step: int) -> float:
        """Seconds to the last step, at the pace of this attempt so far."""
        done = step - self._start
        if done <= 0:
            return 0.0
        return (self._clock() - self._began_at) / done * (self._total_steps - step)

    def is_progress_due(self) -> bool:
        """Whether the last progress event is old enough; if so, counts as a new one."""
        now = self._clock()
        if now - self._progress_at < PROGRESS_INTERVAL_S:
            return False
        self._progress_at = now
        return True

    def is_step_checkpoint_due(self, step: int) -> bool:
        """Whether the spec wants a checkpoint after this step; the same on every rank."""
        every = self._spec.every_steps
        return every is not None and step % every == 0

    def is_epoch_checkpoint_due(self, step: int) -> bool:
        """Whether to save at the end of this epoch; only rank 0's answer counts."""
        if self._spec.every_steps is not None:
            return self.is_step_checkpoint_due(step)
        if step == self._total_steps:
            return False
        return self._clock() - self._saved_at >= EPOCH_CHECKPOINT_INTERVAL_S

    def is_report_due(self, step: int) -> bool:
        """Whether schedulers should hear of this epoch; only rank 0's answer counts."""
        is_last = step == self._total_steps
        return is_last or self._clock() - self._reported_at >= self._report_interval_s

    def reported(self) -> None:
        """Metrics were just handed over."""
        self._reported_at = self._clock()

    def saved(self) -> None:
        """A checkpoint was just handed over."""
        self._saved_at = self._clock()
