"""Into which devices an MI300 package can be divided, and which division a host has.

A package is a set of compute dies (XCDs) and memory stacks. Its compute partition says how many
dies make one device, its memory partition into how many domains its memory is divided. Raymi never
switches either: it takes root, and nobody may be using the package (see cluster/README.md).

Sources, none of them tried on AMD hardware by this project. Dies, compute units and GiB: AMD's
specifications of MI300A, MI300X and MI325X. Modes, and which go together: AMD's kernel driver
(amdgpu: `aqua_vanjaram.c`, where each compute mode names its memory modes; `amdgpu_amdkfd.c`, where
a device gets its share of a domain) and the partitioning guide of AMD SMI. AMD's guides describe
SPX/NPS1 and CPX/NPS4 in detail; DPX and QPX are what the driver allows
where the firmware offers them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_GIB = 1 << 30

_TOLERANCE = 0.05
"""Of a device's memory that may be missing in what it reports: firmware keeps some."""


@dataclass(frozen=True, slots=True)
class Package:
    """One physical accelerator, as it is bought."""

    name: str
    """As people say it."""

    num_xcds: int
    """Compute dies."""

    compute_units_per_xcd: int
    """That are enabled."""

    memory_gib: int
    """HBM of the whole package."""

    modes: dict[str, tuple[int, tuple[str, ...]]]
    """By compute partition: devices of one package, and the memory partitions it goes with."""


@dataclass(frozen=True, slots=True)
class Partitioning:
    """One way to divide a package."""

    package: str
    """Name of the package."""

    compute: str
    """`SPX`, `DPX`, `TPX`, `QPX`, `CPX`."""

    memory: str
    """`NPS1`, `NPS2`, `NPS4`."""

    num_devices: int
    """That one package becomes, each with a number of its own for HIP and one GPU for Ray."""

    xcds_per_device: int
    """Compute dies of each."""

    compute_units_per_device: int
    """Of each; torch's `multi_processor_count`."""

    memory_gib_per_device: float
    """Each device's share of the package."""

    memory_gib_per_domain: float
    """Of one memory domain. Devices that share a domain report their shares of it, unless the
    driver was told to let each report, and take, all of it."""


_EIGHT_DIES: dict[str, tuple[int, tuple[str, ...]]] = {
    "SPX": (1, ("NPS1",)),
    "DPX": (2, ("NPS1", "NPS2")),
    "QPX": (4, ("NPS1", "NPS4")),
    # The driver has CPX with NPS2 too, for virtual functions only.
    "CPX": (8, ("NPS1", "NPS4")),
}

# The driver would let TPX and CPX go with NPS4; AMD describes the APU with NPS1.
_SIX_DIES: dict[str, tuple[int, tuple[str, ...]]] = {
    "SPX": (1, ("NPS1",)),
    "TPX": (3, ("NPS1",)),
    "CPX": (6, ("NPS1",)),
}

_MI300X = Package("MI300X", 8, 38, 192, _EIGHT_DIES)

PACKAGES: dict[str, Package] = {
    "AMD-Instinct-MI300A": Package("MI300A", 6, 38, 128, _SIX_DIES),
    "AMD-Instinct-MI300X-OAM": _MI300X,
    "AMD-Instinct-MI300X-HF": _MI300X,
    "AMD-Instinct-MI325X-OAM": Package("MI325X", 8, 38, 256, _EIGHT_DIES),
}
"""By Ray's name. MI308X has other dies, and the memory modes of MI350 are not known here."""


def partitionings(package: Package) -> tuple[Partitioning, ...]:
    """Every way to divide a package, whole devices first."""
    units = package.num_xcds * package.compute_units_per_xcd
    return tuple(
        Partitioning(
            package=package.name,
            compute=compute,
            memory=memory,
            num_devices=num_devices,
            xcds_per_device=package.num_xcds // num_devices,
            compute_units_per_device=units // num_devices,
            memory_gib_per_device=package.memory_gib / num_devices,
            memory_gib_per_domain=package.memory_gib / int(memory.removeprefix("NPS")),
        )
        for compute, (num_devices, memories) in package.modes.items()
        for memory in memories
    )


@dataclass(frozen=True, slots=True)
class SeenDevice:
    """One device of a host, as the kernel or torch reports it."""

    accelerator: str
    """Ray's name."""

    compute_units: int
    """torch's `multi_processor_count`."""

    memory_bytes: int | None = None
    """torch's `total_memory`; None: not known."""

    memory_partition: str | None = None
    """What the driver says of its package; None: it says nothing."""


@dataclass(frozen=True, slots=True)
class HostPartitions:
    """Devices of a host that are divided alike."""

    package: str
    """Name of the package."""

    compute: str
    """Its compute partition."""

    memory: str | None
    """Its memory partition; None: what was reported does not tell."""

    num_devices: int
    """That were seen."""

    num_packages: int | None
    """Whose devices they are; None: some devices of a package were not seen."""

    compute_units_per_device: int
    """Of each device."""

    memory_gib_per_device: float
    """Each device's share of its package."""

    @property
    def sentence(self) -> str:
        """Such as `8 x MI300X in CPX/NPS4: 64 devices of 38 CUs, 24 GiB`."""
        mode = f"{self.compute}/{self.memory}" if self.memory else self.compute
        owners = "part of" if self.num_packages is None else f"{self.num_packages} x"
        devices = "device" if self.num_devices == 1 else "devices"
        return (
            f"{owners} {self.package} in {mode}: {self.num_devices} {devices} of "
            f"{self.compute_units_per_device} CUs, {self.memory_gib_per_device:.3g} GiB"
        )

    @property
    def advice(self) -> str:
        """What devices of this size are good for; the numbers are AMD's measurements."""
        if self.compute == "SPX":
            return (
                "several small models: share a device by accelerators_per_replica; from five "
                "independent jobs a package on, CPX was faster (1.42 x with eight, AMD)"
            )
        return (
            f"replicas and trials of less than {self.memory_gib_per_device:.3g} GiB, a device for "
            "each; never one data-parallel run over them (26 GB/s between 64, 319 between 8 "
            "whole devices, AMD)"
        )


def recognise(devices: Iterable[SeenDevice]) -> tuple[HostPartitions, ...]:
    """Tell from what the devices report how the packages of a host are divided.

    Returns:
        One entry for devices that are alike, in the order they were seen. Devices of which nothing
        is known, or that are like no part of their package, are left out.
    """
    found = []
    for device, num_devices in Counter(devices).items():
        fitting = _fitting(device)
        if not fitting:
            continue
        one = fitting[0]
        whole, rest = divmod(num_devices, one.num_devices)
        found.append(
            HostPartitions(
                package=one.package,
                compute=one.compute,
                memory=one.memory if len(fitting) == 1 else None,
                num_devices=num_devices,
                num_packages=None if rest else whole,
                compute_units_per_device=one.compute_units_per_device,
                memory_gib_per_device=one.memory_gib_per_device,
            )
        )
    return tuple(found)


def _fitting(device: SeenDevice) -> list[Partitioning]:
    """Divisions of its package that one device may come from: all of one compute partition."""
    package = PACKAGES.get(device.accelerator)
    if package is None:
        return []
    return [
        one
        for one in partitionings(package)
        if one.compute_units_per_device == device.compute_units
        and device.memory_partition in (None, one.memory)
        and _may_report(package, one, device.memory_bytes)
    ]


def _may_report(package: Package, one: Partitioning, memory_bytes: int | None) -> bool:
    """Whether a device of this division may say that it has so much memory.

    An APU's memory is also the host's, and how much of it is the device's is a setting.
    """
    if memory_bytes is None or package.name == "MI300A":
        return True
    sizes = (one.memory_gib_per_device, one.memory_gib_per_domain)
    return any(_is_about(memory_bytes, gib * _GIB) for gib in sizes)


def _is_about(memory_bytes: int, expected_bytes: float) -> bool:
    return (1 - _TOLERANCE) * expected_bytes <= memory_bytes <= expected_bytes
