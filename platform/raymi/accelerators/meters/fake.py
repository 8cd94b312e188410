"""A meter that reads from a script, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Sequence

from raymi.accelerators.meters.protocol import Reading


class FakeMeter:
    """Gives the readings of a script in turn, and its last one for ever.

    Args:
        script: At least one reading, in order of time.
        num_sharing: What a partitioned package would say.
    """

    name = "fake"

    def __init__(self, script: Sequence[Reading], *, num_sharing: int = 1) -> None:
        self._script = list(script)
        self._next = 0
        self._is_open = True
        self.num_sharing = num_sharing

    def read(self) -> Reading:
        """The script's next reading."""
        reading = self._script[min(self._next, len(self._script) - 1)]
        self._next += 1
        return reading if self._is_open else Reading(reading.time_s)

    def close(self) -> None:
        """Give only times from here on."""
        self._is_open = False
