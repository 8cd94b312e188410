"""Readings of NVIDIA devices, through NVML's own Python module (`nvidia-ml-py`)."""

from __future__ import annotations

import importlib
import time
from types import ModuleType

from raymi.accelerators.meters.counter import GrowingCounter, attempt, number
from raymi.accelerators.meters.protocol import Reading
from raymi.errors import NotFoundError

_MILLIJOULE_IN_J = 1e-3
_MILLIWATT_IN_W = 1e-3
_BYTE_IN_GIB = 1 / (1 << 30)

# Numbers of NVML's header, which do not change; its Python module renamed some of them.
_TEMPERATURE_GPU = 0
_CLOCK_SM = 1
_SLOWDOWNS = 0x04 | 0x08 | 0x20 | 0x40 | 0x80
"""Reasons for a low clock that are limits: power cap, hardware slowdown, software and hardware
thermal slowdown, power brake. Idleness and clocks that somebody set are not."""


class NvidiaMeter:
    """One NVIDIA device.

    Args:
        index: Its number in NVML's order, by PCI address, as `CUDA_DEVICE_ORDER=PCI_BUS_ID` has
            it. Without that variable CUDA may order devices of several models differently.

    Raises:
        NotFoundError: NVML cannot be imported or initialised, or has no such device.
    """

    name = "nvml"
    num_sharing = 1

    def __init__(self, *, index: int) -> None:
        try:
            library = importlib.import_module("pynvml")
            library.nvmlInit()
        except Exception as error:
            raise NotFoundError(
                "NVML cannot be used",
                why=f"{type(error).__name__}: {error}",
                fix="install nvidia-ml-py beside NVIDIA's driver",
            ) from error
        try:
            self._handle = library.nvmlDeviceGetHandleByIndex(index)
        except Exception as error:
            attempt(library.nvmlShutdown)
            raise NotFoundError(
                f"there is no NVIDIA device {index}",
                why=f"{type(error).__name__}: {error}",
                fix="count from 0, over all devices of the machine",
            ) from error
        self._library: ModuleType | None = library
        self._energy = GrowingCounter()

    def read(self) -> Reading:
        """Look now."""
        nvml, handle = self._library, self._handle
        if nvml is None:
            return Reading(time.monotonic())
        energy = attempt(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        power = attempt(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        used = attempt(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used)
        temperature = attempt(lambda: nvml.nvmlDeviceGetTemperature(handle, _TEMPERATURE_GPU))
        clock = attempt(lambda: nvml.nvmlDeviceGetClockInfo(handle, _CLOCK_SM))
        # The newer name of this call is missing from older drivers; this one is in both.
        reasons = attempt(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        return Reading(
            time.monotonic(),
            energy_j=self._energy.total(number(energy, scale=_MILLIJOULE_IN_J)),
            power_w=number(power, scale=_MILLIWATT_IN_W),
            memory_used_gib=number(used, scale=_BYTE_IN_GIB),
            temperature_c=number(temperature),
            clock_mhz=number(clock),
            throttled=bool(reasons & _SLOWDOWNS) if isinstance(reasons, int) else None,
        )

    def close(self) -> None:
        """Let go of the library, which counts its users itself."""
        library, self._library = self._library, None
        if library is not None:
            attempt(library.nvmlShutdown)
