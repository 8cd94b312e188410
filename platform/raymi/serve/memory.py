"""Whether another version fits into memory, asked before it is loaded.

A process that takes more than there is is killed, and with it everything else it serves. So a
replica estimates what a version needs from the size of its weights, compares that with what is
free, and refuses the version if it does not fit: the ones that are loaded go on answering.
The replicas of one host load one after another, or each would count on the same free memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from raymi.errors import InfeasibleError

_WEIGHTS = "model.safetensors"
_MIB = 1 << 20

HOST_FACTOR = 2.5
"""Peak of the host's memory while a version is loaded, in sizes of its weights: the network's own
and the file's, which are both there while one is copied into the other, and a quarter of each for
what else moves. Measured with fp32 on a CPU: 2.02 with 155 MiB of weights, 2.13 with 21."""

HOST_OVERHEAD_BYTES = 64 * _MIB
"""Whatever the size of the weights: allocator, threads, a warm-up. Measured: 12 MiB."""

BUILD_OVERHEAD_BYTES = 640 * _MIB
"""Of the host's memory, while a network is compiled or converted in a process of its own, whatever
the size of its weights, which that process has once more. Measured: 425 MiB for `aot`, 432 for
`onnx`, 451 in int8."""

DEVICE_FACTOR = 1.25
"""Of an accelerator's memory: the weights, and a quarter for the batches of its warm-up."""

DEVICE_OVERHEAD_BYTES = 512 * _MIB
"""Of an accelerator's memory: a process's context and its libraries' workspaces."""

_KEPT_FREE = 0.05
"""Share of the host's memory that stays free: Ray kills workers when 95 % are in use."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What there is, in one place."""

    place: str
    """Such as `host`."""

    free_bytes: int
    """That may still be taken."""

    total_bytes: int
    """That there are, or that this process's group may take."""


def host_needs(weights_bytes: int, *, is_built: bool = False) -> int:
    """Bytes of the host's memory to load a version with so large a file of weights.

    Args:
        weights_bytes: The file's size.
        is_built: Whether a process of its own compiles or converts the network before.
    """
    needs = int(HOST_FACTOR * weights_bytes) + HOST_OVERHEAD_BYTES
    return needs + BUILD_OVERHEAD_BYTES if is_built else needs


def device_needs(weights_bytes: int) -> int:
    """Bytes of the accelerator's memory for the same."""
    return int(DEVICE_FACTOR * weights_bytes) + DEVICE_OVERHEAD_BYTES


def why_not(
    weights_bytes: int, host: Memory, device: Memory | None, *, is_built: bool = False
) -> str | None:
    """Why a version does not fit, with the numbers; None: it does.

    Args:
        weights_bytes: Size of its weights.
        host: The host's memory, of which a part stays free.
        device: The accelerator's; None: there is none.
        is_built: As in `host_needs`.
    """
    places = [
        (host, host_needs(weights_bytes, is_built=is_built), int(_KEPT_FREE * host.total_bytes))
    ]
    if device is not None:
        places.append((device, device_needs(weights_bytes), 0))
    for memory, needs, kept in places:
        if needs > memory.free_bytes - kept:
            stays = f", of which {_mib(kept)} MiB stay free" if kept else ""
            return (
                f"it needs about {_mib(needs)} MiB of the {memory.place}'s memory, and "
                f"{_mib(memory.free_bytes)} MiB of {_mib(memory.total_bytes)} MiB are free{stays}"
            )
    return None


@contextlib.contextmanager
def room_for(
    bundle: Path, reference: str, *, accelerator_share: float | None = 1.0, is_built: bool = False
) -> Iterator[None]:
    """Load a version inside of this block: alone on this host, and only if it fits.

    Args:
        bundle: Its directory.
        reference: `NAME@VERSION`.
        accelerator_share: Of the accelerator's memory that this process may take; None: the model
            stays on the CPU.
        is_built: As in `host_needs`.

    Raises:
        InfeasibleError: It does not fit now.
    """
    with _turn():
        weights = bundle / _WEIGHTS
        size = weights.stat().st_size if weights.is_file() else 0
        device = None if accelerator_share is None else device_memory(accelerator_share)
        if (reason := why_not(size, host_memory(), device, is_built=is_built)) is not None:
            raise InfeasibleError(
                f"{reference} does not fit into memory",
                why=reason,
                fix="deploy fewer models in a replica, or fewer replicas on a host",
            )
        yield


def host_memory(
    *, proc: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")
) -> Memory:
    """The host's memory, or that of this process's group if it may take less."""
    whole = psutil.virtual_memory()
    found = Memory("host", int(whole.available), int(whole.total))
    for limit, used in _limits(proc, groups):
        if limit < found.total_bytes or limit - used < found.free_bytes:
            free = min(found.free_bytes, max(0, limit - used))
            found = Memory("host", free, min(limit, found.total_bytes))
    return found


def device_memory(share: float = 1.0) -> Memory | None:
    """The memory of the accelerator that models are put on; None: they stay on the CPU.

    Args:
        share: Of it that this process may take.
    """
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    allocated = torch.cuda.memory_allocated()
    # What this process has taken and does not use is free for it, and for nobody else.
    kept = torch.cuda.memory_reserved() - allocated
    return within_share(
        Memory("accelerator", int(free) + kept, int(total)), share, used_bytes=allocated
    )


def within_share(device: Memory, share: float, *, used_bytes: int) -> Memory:
    """What a process may still take of a device of which it has only a share.

    The share is a bound and no reservation: others may have taken what is left of the device.

    Args:
        device: All of it.
        share: Of its memory, in (0, 1].
        used_bytes: That the process has in use.
    """
    if share >= 1.0:
        return device
    allowed = int(share * device.total_bytes)
    free = min(device.free_bytes, max(0, allowed - used_bytes))
    return Memory(f"replica's share ({share:g}) of the {device.place}", free, allowed)


def _limits(proc: Path, groups: Path) -> Iterator[tuple[int, int]]:
    """Limit and use, in bytes, of this process's control group and those around it (v1 and v2).

    File pages that can be dropped do not count as used.
    """
    for line in _read(proc).splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            root, names = groups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            root = groups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        here = root / path.strip().lstrip("/")
        for group in (here, *here.parents):
            limit, used = _read(group / names[0]).strip(), _read(group / names[1]).strip()
            if limit.isdigit() and used.isdigit():
                yield int(limit), int(used) - _statistic(group / "memory.stat", names[2])
            if group == root:
                break


def _statistic(path: Path, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """Wait until no other process of this user on this host is loading."""
    path = Path(tempfile.gettempdir()) / f"raymi-loading-{os.getuid()}.lock"
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _mib(size: int) -> int:
    return round(size / _MIB)
