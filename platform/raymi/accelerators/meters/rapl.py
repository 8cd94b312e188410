"""Energy of a machine's CPU packages, from the counters that Linux shows (RAPL).

Intel's and AMD's CPUs have them; reading often takes root, and virtual machines rarely pass them
through. They count whole packages with everything that runs on them, and no memory modules.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from raymi.accelerators.meters.counter import GrowingCounter, attempt
from raymi.accelerators.meters.protocol import Reading
from raymi.errors import NotFoundError

_POWERCAP = "sys/class/powercap"
_MICROJOULE_IN_J = 1e-6
_BYTE_IN_GIB = 1 / (1 << 30)


@dataclass(frozen=True, slots=True)
class _Package:
    energy_uj: Path
    counter: GrowingCounter

    def total_j(self) -> float | None:
        raw = attempt(lambda: int(self.energy_uj.read_text()) * _MICROJOULE_IN_J)
        return self.counter.total(raw)


class RaplMeter:
    """All CPU packages of this machine, summed.

    The counters wrap, after about 20 minutes at 200 W on many models: read more often.

    Args:
        root: Where the machine's files are; not `/` in tests.

    Raises:
        NotFoundError: There is no such counter, or this user may not read it.
    """

    name = "rapl"
    num_sharing = 1

    def __init__(self, *, root: Path = Path("/")) -> None:
        # `intel-rapl-mmio:*` are the same packages again; `psys` contains them.
        zones = sorted((root / _POWERCAP).glob("intel-rapl:*"))
        self._packages = [package for zone in zones if (package := _package(zone)) is not None]
        if not self._packages:
            raise NotFoundError(
                "the CPUs' energy counters cannot be read",
                why="there are none, or they are root's" if zones else "this machine shows none",
                fix="read them as root, or go without energy",
            )
        self._before: tuple[float, float] | None = None
        self._is_open = True

    def read(self) -> Reading:
        """Look now; power is the mean since the last reading."""
        if not self._is_open:
            return Reading(time.monotonic())
        totals = [package.total_j() for package in self._packages]
        now_s = time.monotonic()
        known = [total for total in totals if total is not None]
        energy_j = sum(known) if len(known) == len(totals) else None
        used = attempt(lambda: psutil.virtual_memory().used * _BYTE_IN_GIB)
        return Reading(
            now_s, energy_j=energy_j, power_w=self._power_w(now_s, energy_j), memory_used_gib=used
        )

    def close(self) -> None:
        """Read no more."""
        self._is_open = False

    def _power_w(self, now_s: float, energy_j: float | None) -> float | None:
        before, self._before = self._before, None if energy_j is None else (now_s, energy_j)
        if before is None or energy_j is None or now_s <= before[0]:
            return None
        return (energy_j - before[1]) / (now_s - before[0])


def _package(zone: Path) -> _Package | None:
    name = attempt(lambda: (zone / "name").read_text().strip()) or ""
    limit = attempt(lambda: int((zone / "max_energy_range_uj").read_text()))
    package = _Package(
        zone / "energy_uj",
        GrowingCounter(wraps_at=None if limit is None else limit * _MICROJOULE_IN_J),
    )
    is_readable = name.startswith("package") and package.total_j() is not None
    return package if is_readable else None
