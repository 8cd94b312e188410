"""What a device is and how it is set up, read from the kernel's files: what a timing depends on.

A run on a partition, under another power cap, or while the kernel migrates pages is another
measurement; these facts are written down with each. The files are those of the amdgpu, NVIDIA and
cpufreq drivers. Those of AMD were only tried as copies in tests.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from raymi.accelerators.catalog import Accelerator
from raymi.accelerators.detect import amd_name
from raymi.accelerators.partitions import HostPartitions, SeenDevice, recognise
from raymi.accelerators.topology import (
    MEMORY_BYTES,
    gfx_name,
    kfd_devices,
    pci_address,
    read_text,
)
from raymi.store.record import Record

_CARDS = "sys/class/drm"
_SIMDS_PER_COMPUTE_UNIT = 4  # MI300X: 1216 SIMDs in KFD's properties, 304 compute units
_NVIDIA = "proc/driver/nvidia"
_CPU_FREQUENCY = "sys/devices/system/cpu/cpu0/cpufreq"
_CPU_FIELD = re.compile(r"^([^\t:]+)\s*: (.*)$", re.MULTILINE)


class DeviceFacts(Record):
    """One device of one machine. None is "this machine does not say"."""

    accelerator: str
    """Ray's name for it, or `cpu`."""

    bdf: str | None = None
    """PCI address, such as `0000:05:00.0`; the partitions of a package have the same."""

    partition_id: int | None = None
    """Which partition of its package, from 0. With `bdf` it names the device within its machine;
    the device's UUID does not, since partitions share that too."""

    marketing_name: str | None = None
    """As the vendor or the firmware has it."""

    gfx_target: str | None = None
    """Compiler target of an AMD device, such as `gfx942`."""

    driver_version: str | None = None
    """Of the kernel module."""

    rocm_version: str | None = None
    """Of the installed ROCm."""

    compute_partition: str | None = None
    """`SPX`, `DPX`, `QPX`, `CPX`: how the dies of a package are grouped into devices."""

    memory_partition: str | None = None
    """`NPS1`, `NPS4`: into how many domains its memory is divided."""

    max_clock_mhz: float | None = None
    """Highest clock of the compute units, or of the CPU."""

    power_cap_w: float | None = None
    """What the package may draw at this moment."""

    governor: str | None = None
    """How the kernel chooses the CPU's clock, such as `performance`."""

    num_cores: int | None = None
    """Physical cores of the machine, when the device is its CPU."""

    numa_balancing: bool | None = None
    """Whether the kernel migrates pages between NUMA nodes; AMD says to switch it off."""

    @property
    def key(self) -> tuple[str | None, int | None]:
        """Names the device within its machine."""
        return self.bdf, self.partition_id


def describe_device(accelerator: Accelerator, *, index: int, root: Path = Path("/")) -> DeviceFacts:
    """Look the device up; never fails, and leaves out what the machine does not say.

    Args:
        accelerator: Which kind of device.
        index: Its number among all devices of this machine
            (`raymi.accelerators.environment.machine_index`); ignored for a CPU.
        root: Where the machine's files are; not `/` in tests.
    """
    if accelerator.vendor == "cpu":
        facts = _describe_cpu(root)
    else:
        describe = _describe_amd if accelerator.vendor == "amd" else _describe_nvidia
        facts = describe(index, root)
    balancing = read_text(root / "proc/sys/kernel/numa_balancing")
    return DeviceFacts(
        accelerator=accelerator.name,
        # 1 is plain balancing, 2 and 3 add memory tiers.
        numa_balancing=None if balancing is None else balancing != "0",
        **facts,
    )


def host_partitions(root: Path = Path("/")) -> tuple[HostPartitions, ...]:
    """How this machine's MI300 packages are divided; empty: the kernel lists none."""
    return recognise(
        SeenDevice(
            accelerator=name,
            compute_units=device["simd_count"] // _SIMDS_PER_COMPUTE_UNIT,
            memory_bytes=device[MEMORY_BYTES] or None,
            memory_partition=read_text(card / "current_memory_partition") if card else None,
        )
        for device in kfd_devices(root)
        if (name := amd_name(device)) is not None
        for card in (_card(root, pci_address(device)),)
    )


def _describe_amd(index: int, root: Path) -> dict[str, Any]:
    versions: dict[str, Any] = {
        "driver_version": read_text(root / "sys/module/amdgpu/version"),
        "rocm_version": read_text(root / "opt/rocm/.info/version"),
    }
    devices = kfd_devices(root)
    if not 0 <= index < len(devices):
        return versions
    own, address = devices[index], pci_address(devices[index])
    card = _card(root, address)
    target, clock = own.get("gfx_target_version"), own.get("max_engine_clk_fcompute")
    cap = [_number(path) for path in sorted(card.glob("hwmon/hwmon*/power1_cap"))] if card else []
    return versions | {
        "bdf": address,
        "partition_id": [pci_address(device) for device in devices[:index]].count(address),
        "marketing_name": read_text(card / "product_name") if card else None,
        "gfx_target": gfx_name(target) if target else None,
        "compute_partition": read_text(card / "current_compute_partition") if card else None,
        "memory_partition": read_text(card / "current_memory_partition") if card else None,
        "max_clock_mhz": clock or None,
        "power_cap_w": next((microwatts / 1e6 for microwatts in cap if microwatts), None),
    }


def _card(root: Path, address: str) -> Path | None:
    """The kernel's directory for the card at a PCI address."""
    for uevent in sorted((root / _CARDS).glob("card*/device/uevent")):
        if f"PCI_SLOT_NAME={address}" in (read_text(uevent) or "").splitlines():
            return uevent.parent
    return None


def _describe_nvidia(index: int, root: Path) -> dict[str, Any]:
    release = re.search(r"\d+\.\d+(\.\d+)?", read_text(root / _NVIDIA / "version") or "")
    facts: dict[str, Any] = {"driver_version": release[0] if release else None}
    directories = sorted((root / _NVIDIA / "gpus").glob("*"))
    if not 0 <= index < len(directories):
        return facts
    information = read_text(directories[index] / "information") or ""
    model = re.search(r"^Model:\s*(.+?)\s*$", information, re.MULTILINE)
    return facts | {
        "bdf": directories[index].name.lower(),
        "partition_id": 0,
        "marketing_name": model[1] if model else None,
    }


def _describe_cpu(root: Path) -> dict[str, Any]:
    blocks = (read_text(root / "proc/cpuinfo") or "").split("\n\n")
    threads = [dict(_CPU_FIELD.findall(block)) for block in blocks]
    cores = {(t.get("physical id"), t["core id"]) for t in threads if "core id" in t}
    kilohertz = _number(root / _CPU_FREQUENCY / "cpuinfo_max_freq")
    return {
        "marketing_name": threads[0].get("model name"),
        "max_clock_mhz": kilohertz / 1e3 if kilohertz else None,
        "governor": read_text(root / _CPU_FREQUENCY / "scaling_governor"),
        "num_cores": len(cores) or None,
    }


def _number(path: Path) -> float | None:
    text = read_text(path)
    return float(text) if text and text.isdigit() else None
