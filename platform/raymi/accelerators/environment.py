"""The environment a process needs before it touches a device, and which devices it then sees.

Ray's workers get it through Ray's runtime environment; other processes, those of torchrun among
them, set it themselves. A variable that is set after HIP has started does nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from raymi.accelerators.amd_variables import AMD, BY_HAND, CACHES, WORKERS_OF_A_HOST, Need
from raymi.accelerators.catalog import Accelerator
from raymi.errors import ConflictError
from raymi.specs.precision import Precision

_ROCR, _HIP, _CUDA = "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"


def worker_environment(
    accelerator: Accelerator,
    *,
    num_workers: int = 1,
    precision: Precision | None = None,
    cache_dir: Path | None = None,
) -> dict[str, str]:
    """Variables for the workers of one run that Ray Train starts.

    Args:
        accelerator: Which device each worker has.
        num_workers: Of the run.
        precision: Of the run; None when that is not known yet.
        cache_dir: A directory on a disk of each node, this run's own, for compiled kernels; None
            leaves them where the node's own environment has them.
    """
    if accelerator.vendor != "amd":
        return {}
    needs = {Need.ALWAYS, Need.RAY_TRAIN}
    if num_workers > 1:
        needs.add(Need.SEVERAL_WORKERS)
    if 1 < num_workers < WORKERS_OF_A_HOST:
        needs.add(Need.PART_OF_A_HOST)
    if num_workers == WORKERS_OF_A_HOST:
        needs.add(Need.WHOLE_HOST)
    if precision is Precision.TF32:
        needs.add(Need.TF32)
    variables = {variable.name: variable.value for variable in AMD if variable.need in needs}
    if cache_dir is None:
        return variables
    return variables | {name: str(cache_dir / below) for name, below in CACHES.items()}


def apply_environment(
    accelerator: Accelerator,
    *,
    num_workers: int = 1,
    precision: Precision | None = None,
    cache_dir: Path | None = None,
    environ: MutableMapping[str, str] = os.environ,
) -> dict[str, str]:
    """Set what a worker needs in this process, which Ray did not start.

    What is already set stays as it is. The other arguments are those of `worker_environment`.

    Returns:
        The variables that were set.

    Raises:
        ConflictError: torch has started the device, and would not see them any more.
    """
    wanted = worker_environment(
        accelerator, num_workers=num_workers, precision=precision, cache_dir=cache_dir
    )
    for variable in AMD:
        if variable.need is Need.RAY_TRAIN:
            wanted.pop(variable.name, None)
    missing = {name: value for name, value in wanted.items() if name not in environ}
    torch = sys.modules.get("torch")
    if missing and torch is not None and torch.cuda.is_initialized():
        raise ConflictError(
            f"the environment of {accelerator.name} comes too late",
            why=f"the device is in use already, and reads {', '.join(missing)} only when it starts",
            fix="call apply_environment before anything that touches torch.cuda",
        )
    environ.update(missing)
    return missing


def recorded_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Those variables of a process that two runs must share for their timings to be compared."""
    names = {variable.name for variable in AMD} | set(BY_HAND)
    return {name: environ[name] for name in sorted(names) if name in environ}


def check_visible_devices(environ: Mapping[str, str]) -> None:
    """Refuse variables that would give an AMD worker another device than Ray thinks.

    HIP takes `HIP_VISIBLE_DEVICES`, and `CUDA_VISIBLE_DEVICES` only when that is missing or empty;
    `ROCR_VISIBLE_DEVICES` acts below both and renumbers what they choose from.

    Raises:
        ConflictError: Ray would not start, or rank and device would not belong together.
    """
    hip, cuda = environ.get(_HIP, ""), environ.get(_CUDA, "")
    if _ROCR in environ and _HIP not in environ:
        raise ConflictError(
            f"{_ROCR}={environ[_ROCR]} is set without {_HIP}",
            why="Ray refuses to start on AMD devices that are chosen this way",
            fix=f"unset {_ROCR}; to hide devices from Ray, set {_HIP} instead",
        )
    if hip and cuda and hip != cuda:
        raise ConflictError(
            f"{_HIP}={hip} contradicts {_CUDA}={cuda}",
            why=f"HIP follows {_HIP}, while Ray Train counts devices by {_CUDA}: a rank would ask "
            "for a device that it does not see, or take another's",
            fix="start workers with RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES=1, or unset one",
        )


def machine_index(accelerator: Accelerator, index: int, environ: Mapping[str, str]) -> int | None:
    """Number, among all devices of this machine, of the one that torch calls `cuda:index`.

    Args:
        accelerator: Which kind of device.
        index: torch's number in a process with this environment.
        environ: That environment.

    Returns:
        None when devices are chosen by UUID, or when there is no such device.
    """
    layers = [environ.get(_CUDA, "")]
    if accelerator.vendor == "amd":
        layers = [environ.get(_HIP, "") or layers[0], environ.get(_ROCR, "")]
    for layer in layers:
        chosen = [part.strip() for part in layer.split(",")] if layer else None
        if chosen is None:
            continue
        if not 0 <= index < len(chosen) or not chosen[index].isdigit():
            return None
        index = int(chosen[index])
    return index
