"""Which backends run on this machine, with which arithmetic, and why the others do not."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from raymi.accelerators.catalog import CPU, Accelerator, require_precision
from raymi.accelerators.detect import detect
from raymi.errors import CapabilityError
from raymi.specs.backend import BackendName, ServingPrecision
from raymi.specs.precision import Precision

if TYPE_CHECKING:
    import torch

    from raymi.registry.bundle import Bundle
    from raymi.serve.backends.protocol import Backend

_PACKAGES = ("onnx", "onnxscript", "onnxruntime", "torchao", "triton")
_CONVERTER = ("onnx", "onnxscript", "onnxruntime")
_TORCH = frozenset(ServingPrecision) - {ServingPrecision.INT8}
_OFFERED = {
    BackendName.EAGER: _TORCH,
    BackendName.COMPILE: _TORCH,
    BackendName.AOT: frozenset({ServingPrecision.FP32}),
    BackendName.ONNX: frozenset({ServingPrecision.FP32, ServingPrecision.INT8}),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides which backends run."""

    accelerator: Accelerator
    """The device the network would run on."""

    installed: frozenset[str]
    """Those packages, of the ones that backends need, that can be imported."""

    has_compiler: bool
    """Whether there is a C++ compiler."""


@dataclass(frozen=True, slots=True)
class Availability:
    """One way to run a network."""

    backend: BackendName
    """Who executes it."""

    precision: ServingPrecision
    """With which arithmetic."""

    reason: str | None
    """Why it does not run here, in one sentence; None: it does."""


def probe(accelerator: Accelerator | None = None) -> Facts:
    """Look at this machine; `accelerator` unset: the one it has."""
    return Facts(
        accelerator=accelerator or detect(),
        installed=frozenset(name for name in _PACKAGES if find_spec(name) is not None),
        has_compiler=shutil.which(os.environ.get("CXX", "g++")) is not None,
    )


def available(facts: Facts) -> tuple[Availability, ...]:
    """Every backend with every precision, and whether it runs."""
    return tuple(
        Availability(backend, precision, _reason(backend, precision, facts))
        for backend in BackendName
        for precision in ServingPrecision
    )


def is_offered(backend: BackendName, precision: ServingPrecision) -> bool:
    """Whether a backend knows this arithmetic at all, on whatever machine."""
    return precision in _OFFERED[backend]


def require(backend: BackendName, precision: ServingPrecision, facts: Facts) -> None:
    """Refuse what does not run.

    Raises:
        CapabilityError: With the reason and what does.
    """
    reason = _reason(backend, precision, facts)
    if reason is None:
        return
    able = (f"{a.backend} {a.precision}" for a in available(facts) if a.reason is None)
    raise CapabilityError(
        f"backend: {backend} with {precision} cannot run here",
        why=reason,
        fix=f"use one of: {', '.join(able)}",
    )


def open_backend(
    bundle: Bundle,
    name: BackendName,
    precision: ServingPrecision,
    *,
    num_threads: int,
    device: torch.device,
    cache_dir: Path,
) -> Backend:
    """Make a bundle's network ready to run; compiling or converting takes seconds to minutes.

    Args:
        bundle: The model.
        name: Who executes it.
        precision: With which arithmetic.
        num_threads: Of ONNX Runtime's own pool; PyTorch's backends use those of the process.
        device: Where it runs.
        cache_dir: Where converted models are kept; several processes may share it.

    Raises:
        CapabilityError: It cannot run here, or not this network; with the reason.
        IntegrityError: The weights are not this network's.
    """
    accelerator = CPU if device.type == "cpu" else detect()
    require(name, precision, probe(accelerator))
    match name:
        case BackendName.EAGER:
            from raymi.serve.backends.eager import open_eager

            return open_eager(bundle.model(), precision, device=device, accelerator=accelerator)
        case BackendName.COMPILE:
            from raymi.serve.backends.compiled import open_compiled

            return open_compiled(
                bundle.model(),
                bundle.preprocessing,
                precision,
                device=device,
                accelerator=accelerator,
            )
        case BackendName.AOT:
            from raymi.serve.backends.ahead_of_time import open_ahead_of_time
            from raymi.serve.backends.build_elsewhere import build_elsewhere

            return open_ahead_of_time(bundle, device=device, build=build_elsewhere)
        case BackendName.ONNX:
            from raymi.serve.backends.build_elsewhere import build_elsewhere
            from raymi.serve.backends.onnx_model import onnx_model
            from raymi.serve.backends.onnx_runtime import OnnxBackend

            model = onnx_model(bundle, precision, cache_dir=cache_dir, build=build_elsewhere)
            return OnnxBackend(model, precision, num_threads=num_threads)


def _reason(backend: BackendName, precision: ServingPrecision, facts: Facts) -> str | None:
    if precision not in _OFFERED[backend]:
        able = " and ".join(p for p in ServingPrecision if p in _OFFERED[backend])
        return f"the backend {backend} computes in {able} only"
    if backend is BackendName.ONNX:
        return _no_onnx(facts)
    return _no_arithmetic(precision, facts) or _no_compiler(backend, facts)


def _no_onnx(facts: Facts) -> str | None:
    if facts.accelerator.is_gpu:
        return f"ONNX Runtime runs on CPUs here, and the device is {facts.accelerator.name}"
    missing = [name for name in _CONVERTER if name not in facts.installed]
    if missing:
        return f'{" and ".join(missing)} cannot be imported; pip install "raymi[export]" adds it'
    return None


def _no_arithmetic(precision: ServingPrecision, facts: Facts) -> str | None:
    try:
        require_precision(facts.accelerator, Precision(precision.value))
    except CapabilityError as error:
        return error.why
    if precision is ServingPrecision.FP8 and "torchao" not in facts.installed:
        return 'torchao cannot be imported; pip install "raymi[gpu]" adds it'
    return None


def _no_compiler(backend: BackendName, facts: Facts) -> str | None:
    if backend is BackendName.EAGER:
        return None
    if not facts.has_compiler:
        return "there is no C++ compiler (g++, or the one that CXX names)"
    if facts.accelerator.is_gpu and "triton" not in facts.installed:
        return "triton cannot be imported, and code for a GPU is compiled with it"
    return None
