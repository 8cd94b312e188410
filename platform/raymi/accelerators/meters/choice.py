"""Which instruments a device has: the first that can be opened."""

from __future__ import annotations

from pathlib import Path

from raymi.accelerators.catalog import Accelerator
from raymi.accelerators.meters.amd import AmdMeter
from raymi.accelerators.meters.estimate import EstimateMeter
from raymi.accelerators.meters.nvidia import NvidiaMeter
from raymi.accelerators.meters.protocol import Meter
from raymi.accelerators.meters.rapl import RaplMeter
from raymi.errors import NotFoundError


def open_meter(accelerator: Accelerator, *, index: int, root: Path = Path("/")) -> Meter:
    """Open the vendor's instruments, or an estimate where there are none; never fails.

    Args:
        accelerator: Which kind of device.
        index: Its number among all devices of this machine
            (`raymi.accelerators.environment.machine_index`); ignored for a CPU.
        root: Where the machine's files are; not `/` in tests.
    """
    try:
        if accelerator.vendor == "amd":
            return AmdMeter(index=index)
        if accelerator.vendor == "nvidia":
            return NvidiaMeter(index=index)
        return RaplMeter(root=root)
    except NotFoundError:
        return EstimateMeter(accelerator)
