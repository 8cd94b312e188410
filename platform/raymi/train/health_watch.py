"""Is this run still learning? Told from its losses, its gradients and its loss scale alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raymi.specs.health import HealthSpec
from raymi.train.failure import Reason

SMOOTHING = 0.9
"""Weight of the past in the smoothed loss: about ten steps count."""

NUM_FIRST_STEPS = 10
"""Steps that say where the loss started."""

INITIAL_SCALE = 2.0**16
"""Where fp16 loss scaling starts; it halves on every overflow."""


class HealthWatch:
    """Follows one run; every loss goes through `observe` once, in order."""

    def __init__(self, spec: HealthSpec) -> None:
        self._spec = spec
        self._first: list[float] = []
        self._smoothed: float | None = None
        self._best = math.inf
        self._num_high = 0

    def observe(
        self, losses: Sequence[float], *, num_bad_steps: int, loss_scale: float | None
    ) -> Reason | None:
        """Why the run should stop, or None.

        Args:
            losses: Mean loss of each step since the last call.
            num_bad_steps: Steps in a row, up to now, whose gradients were not finite.
            loss_scale: Of fp16; None otherwise.
        """
        if loss_scale is not None and loss_scale < INITIAL_SCALE * 0.5**self._spec.max_bad_steps:
            return Reason.SCALE_COLLAPSE
        if num_bad_steps >= self._spec.max_bad_steps:
            return Reason.BAD_GRADIENTS
        for loss in losses:
            if not math.isfinite(loss):
                return Reason.DIVERGED
            if self._is_spike(loss):
                return Reason.LOSS_SPIKE
        return None

    def _is_spike(self, loss: float) -> bool:
        if len(self._first) < NUM_FIRST_STEPS:
            self._first.append(loss)
        past = self._smoothed if self._smoothed is not None else loss
        self._smoothed = SMOOTHING * past + (1.0 - SMOOTHING) * loss
        self._best = min(self._best, self._smoothed)
        growth = self._spec.max_loss_growth
        start = sum(self._first) / len(self._first)
        is_high = (
            growth is not None
            and self._smoothed > growth * abs(self._best)
            and self._smoothed > start
        )
        # One wild batch moves the smoothed loss for about as many steps as it averages over.
        self._num_high = self._num_high + 1 if is_high else 0
        return self._num_high >= 2 * NUM_FIRST_STEPS
