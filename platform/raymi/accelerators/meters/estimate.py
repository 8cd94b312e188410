"""What is left where a machine has no instruments: an assumed power, marked as such."""

from __future__ import annotations

import time

from raymi.accelerators.catalog import Accelerator
from raymi.accelerators.meters.protocol import Reading
from raymi.accelerators.rates import board

BUSY_SHARE = 0.8
"""Of its board power that a busy device is assumed to draw.

Training draws 0.6 to 1.0 of it, so that an estimate may be wrong by a quarter either way.
"""


class EstimateMeter:
    """A device that is always busy.

    For a CPU, and for a device whose board power is not known, power stays None: energy would be
    a made-up constant times the time, which says nothing that the time does not say.

    Args:
        accelerator: Which device.
    """

    name = "estimate"
    num_sharing = 1

    def __init__(self, accelerator: Accelerator) -> None:
        known = board(accelerator)
        self._power_w = None if known is None else known.power_w * BUSY_SHARE
        self._is_open = True

    def read(self) -> Reading:
        """The same as ever, now."""
        if self._power_w is None or not self._is_open:
            return Reading(time.monotonic())
        return Reading(time.monotonic(), power_w=self._power_w, is_estimate=True)

    def close(self) -> None:
        """Say no more."""
        self._is_open = False
