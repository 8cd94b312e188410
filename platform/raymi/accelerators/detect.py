"""Which accelerator this machine has, told from the kernel's files without loading torch."""

from __future__ import annotations

from pathlib import Path

from raymi.accelerators.catalog import CPU, Accelerator, find
from raymi.accelerators.topology import kfd_devices

_NVIDIA_GPUS = Path("proc/driver/nvidia/gpus")

_AMD_DEVICE_IDS = {
    0x738C: "AMD-Instinct-MI100",
    0x740F: "AMD-Instinct-MI210",
    0x7408: "AMD-Instinct-MI250X",
    0x740C: "AMD-Instinct-MI250",
    0x74A0: "AMD-Instinct-MI300A",
    0x74A1: "AMD-Instinct-MI300X-OAM",
    # The virtual function that cloud machines (Azure ND MI300X v5) pass through; Ray's own
    # table does not know it.
    0x74B5: "AMD-Instinct-MI300X-OAM",
    0x74A9: "AMD-Instinct-MI300X-HF",
    0x74A2: "AMD-Instinct-MI308X-OAM",
    0x74A5: "AMD-Instinct-MI325X-OAM",
    0x75A0: "AMD-Instinct-MI350X-OAM",
    0x75A3: "AMD-Instinct-MI355X-OAM",
}
"""PCI device ids of vendor 1002 (AMD); from the PCI ID repository."""

_NVIDIA_MODELS = (
    "GH200", "GB200", "B200", "H200", "H100", "A100", "A30", "A10G", "A10", "A40",
    "L40S", "L4", "V100", "T4",
)  # fmt: skip
"""Ray's names, longer before shorter where one contains another."""


def resolve(wanted: str) -> Accelerator:
    """What a spec's `resources.accelerator` means on this machine: a name, or `auto`.

    Raises:
        CapabilityError: Nothing is known about an accelerator of that name.
    """
    return detect() if wanted == "auto" else find(wanted)


def detect(root: Path = Path("/")) -> Accelerator:
    """Return the first accelerator of this machine, or the CPU."""
    return _detect_amd(root) or _detect_nvidia(root) or CPU


def amd_name(device: dict[str, int]) -> str | None:
    """Ray's name for a device that the kernel lists; None: nothing is known about it."""
    return _AMD_DEVICE_IDS.get(device.get("device_id", 0))


def _detect_amd(root: Path) -> Accelerator | None:
    devices = kfd_devices(root)
    name = amd_name(devices[0]) if devices else None
    return find(name) if name else None


def _detect_nvidia(root: Path) -> Accelerator | None:
    for information in sorted((root / _NVIDIA_GPUS).glob("*/information")):
        text = information.read_text()
        for model in _NVIDIA_MODELS:
            if model in text:
                return find(model)
    return None
