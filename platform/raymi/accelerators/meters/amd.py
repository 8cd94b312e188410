"""Readings of AMD devices, through the `amdsmi` module that comes with ROCm.

Written from the signatures of amdsmi 7.0.2 and tested against a stub; it has not run on AMD
hardware. Virtual machines often refuse power and energy: those are None there.
"""

from __future__ import annotations

import importlib
import threading
import time
from types import ModuleType
from typing import Any

from raymi.accelerators.meters.counter import GrowingCounter, attempt, number
from raymi.accelerators.meters.protocol import Reading
from raymi.errors import NotFoundError

_MIB_IN_GIB = 1 / 1024
_MICROJOULE_IN_J = 1e-6

_LIMITS = (
    "ppt_residency_acc",
    "socket_thm_residency_acc",
    "vr_thm_residency_acc",
    "hbm_thm_residency_acc",
    "prochot_residency_acc",
)
"""Time that each limit has held the clock down, of `amdsmi_get_gpu_metrics_info`. The library's own
`amdsmi_get_violation_status` compares two samples of these and waits in between."""

_NO_POWER_W = 0xFFFF
"""From here on, an unsigned number that was never written."""

_lock = threading.Lock()
_users: set[AmdMeter] = set()


class AmdMeter:
    """One AMD device.

    Args:
        index: Its number among all devices of this machine, as HIP counts them when no variable
            hides any. amdsmi counts differently; its enumeration tells, where it can.

    Raises:
        NotFoundError: amdsmi cannot be imported or initialised, or has no such device.
    """

    name = "amdsmi"

    def __init__(self, *, index: int) -> None:
        self._library: ModuleType | None = _open_library(self)
        try:
            self._handle, self.num_sharing = _find(self._library, index)
        except BaseException:
            self.close()
            raise
        self._energy = GrowingCounter()
        self._limits: list[float] | None = None

    def read(self) -> Reading:
        """Look now."""
        library, handle = self._library, self._handle
        if library is None:
            return Reading(time.monotonic())
        energy = _ask(library, "amdsmi_get_energy_count", handle)
        power = _ask(library, "amdsmi_get_power_info", handle)
        memory = _ask(library, "amdsmi_get_gpu_vram_usage", handle)
        metrics = _ask(library, "amdsmi_get_gpu_metrics_info", handle)
        return Reading(
            time.monotonic(),
            energy_j=self._energy.total(_energy_j(energy)),
            power_w=_power_w(power),
            memory_used_gib=number(_field(memory, "vram_used"), scale=_MIB_IN_GIB),
            temperature_c=max(
                _numbers(metrics, "temperature_hotspot", "temperature_mem"), default=None
            ),
            clock_mhz=_slowest_clock(metrics),
            throttled=self._was_limited(_numbers(metrics, *_LIMITS)),
        )

    def close(self) -> None:
        """Let go of the library, which shuts down with the last meter of the process."""
        library, self._library = self._library, None
        if library is not None:
            _close_library(self, library)

    def _was_limited(self, limits: list[float]) -> bool | None:
        before, self._limits = self._limits, limits or None
        if before is None or len(before) != len(limits):
            return None
        return any(now > then for now, then in zip(limits, before, strict=True))


def _open_library(user: AmdMeter) -> ModuleType:
    with _lock:
        try:
            # Without libamd_smi.so, importing raises KeyError.
            library = importlib.import_module("amdsmi")
            if not _users:
                library.amdsmi_init()
        except Exception as error:
            raise NotFoundError(
                "amdsmi cannot be used",
                why=f"{type(error).__name__}: {error}",
                fix="install the module of this host's ROCm: pip install /opt/rocm/share/amd_smi",
            ) from error
        _users.add(user)
        return library


def _close_library(user: AmdMeter, library: ModuleType) -> None:
    # Shutting down takes every handle of the process away, also those of other meters.
    with _lock:
        _users.discard(user)
        if not _users:
            _ask(library, "amdsmi_shut_down")


def _find(library: ModuleType, index: int) -> tuple[Any, int]:
    """The device's handle, and how many devices its package is partitioned into."""
    handles = _ask(library, "amdsmi_get_processor_handles") or []
    hip_ids = [
        _field(_ask(library, "amdsmi_get_gpu_enumeration_info", handle), "hip_id")
        for handle in handles
    ]
    is_told = all(isinstance(hip_id, int) for hip_id in hip_ids)
    order = hip_ids if is_told else list(range(len(handles)))
    if index not in order:
        raise NotFoundError(
            f"there is no AMD device {index}",
            why=f"amdsmi lists {len(handles)} devices",
            fix="count from 0, over all devices of the machine",
        )
    position = order.index(index)
    addresses = [_ask(library, "amdsmi_get_gpu_device_bdf", handle) for handle in handles]
    own = addresses[position]
    # Partitions of a package have one PCI address.
    return handles[position], max(1, addresses.count(own)) if own else 1


def _ask(library: ModuleType, question: str, *arguments: object) -> Any:
    """The library's answer, or None: it fails, or this version of it has no such call."""
    return attempt(lambda: getattr(library, question)(*arguments))


def _energy_j(energy: Any) -> float | None:
    accumulated = number(_field(energy, "energy_accumulator"))
    resolution = number(_field(energy, "counter_resolution"), scale=_MICROJOULE_IN_J)
    return None if accumulated is None or resolution is None else accumulated * resolution


def _slowest_clock(metrics: Any) -> float | None:
    clocks = _field(metrics, "current_gfxclks")
    dies = [number(clock) for clock in clocks] if isinstance(clocks, list) else []
    running = [clock for clock in dies if clock]
    return min(running or _numbers(metrics, "current_gfxclk"), default=None)


def _field(answer: Any, name: str) -> object:
    return answer.get(name) if isinstance(answer, dict) else None


def _numbers(answer: Any, *names: str) -> list[float]:
    found = (number(_field(answer, name)) for name in names)
    return [value for value in found if value is not None]


def _power_w(power: Any) -> float | None:
    """MI300 has current power; MI200 and older have only the average over some milliseconds."""
    candidates = _numbers(power, "current_socket_power", "average_socket_power", "socket_power")
    return next((watts for watts in candidates if watts < _NO_POWER_W), None)
