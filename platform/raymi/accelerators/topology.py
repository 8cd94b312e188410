"""AMD devices of a machine as the kernel's compute driver (KFD) lists them, in HIP's order."""

from __future__ import annotations

from pathlib import Path

_NODES = "sys/class/kfd/kfd/topology/nodes"
_AMD_VENDOR = 0x1002

MEMORY_BYTES = "memory_bytes"
"""Among a device's properties: its memory banks together, 0 where none is listed."""


def kfd_devices(root: Path) -> list[dict[str, int]]:
    """Properties of each AMD device, by the kernel's names; the position is HIP's number."""
    nodes = sorted(
        (node for node in (root / _NODES).glob("*") if node.name.isdigit()),
        key=lambda node: int(node.name),
    )
    properties = [
        _integers(read_text(node / "properties") or "") | {MEMORY_BYTES: _memory_bytes(node)}
        for node in nodes
    ]
    return [p for p in properties if p.get("simd_count") and p.get("vendor_id") == _AMD_VENDOR]


def pci_address(device: dict[str, int]) -> str:
    """PCI address of a KFD device, such as `0000:05:00.0`.

    The kernel packs bus, device and function into 16 bits; ROCm's libraries keep the number of a
    partition in higher ones.
    """
    location = device.get("location_id", 0)
    bus, slot, function = location >> 8 & 0xFF, location >> 3 & 0x1F, location & 0x7
    return f"{device.get('domain', 0):04x}:{bus:02x}:{slot:02x}.{function:x}"


def gfx_name(version: int) -> str:
    """KFD's number for a compiler target in letters: 90402 is `gfx942`, 90010 is `gfx90a`."""
    major, minor, stepping = version // 10000, version // 100 % 100, version % 100
    return f"gfx{major}{minor:x}{stepping:x}"


def read_text(path: Path) -> str | None:
    """Content of a small file without the space around it; None when there is none to read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _memory_bytes(node: Path) -> int:
    banks = (read_text(path) or "" for path in (node / "mem_banks").glob("*/properties"))
    return sum(_integers(bank).get("size_in_bytes", 0) for bank in banks)


def _integers(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
