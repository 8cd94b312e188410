"""A trained network as one ONNX file: converted once, then found by what it was made from.

A file's name ends with the sha256 of its content. One whose content is another is made again.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

from raymi.registry.bundle import Bundle
from raymi.serve.backends.build import Build
from raymi.specs.backend import BackendName, ServingPrecision

_FORMAT = 1
"""Goes up when the conversion changes, so that older files are not found any more."""

_SUFFIX = ".onnx"

_log = logging.getLogger("ray.serve")


def onnx_model(
    bundle: Bundle, precision: ServingPrecision, *, cache_dir: Path, build: Build
) -> bytes:
    """The content of the file of a bundle's network; converts it unless that has been done.

    Args:
        bundle: The model.
        precision: fp32, or int8: linear layers only, activations quantised as they come.
        cache_dir: Where such files are kept; several processes may share it.
        build: Converts.

    Raises:
        CapabilityError: The network cannot be converted.
    """
    runtime = version("onnxruntime")
    made_from = f"{bundle.fingerprint}-{precision.value}-onnxruntime-{runtime}-{_FORMAT}-"
    if (found := _kept(cache_dir, made_from)) is not None:
        return found
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".converting-") as directory:
        temporary = Path(directory) / "model.onnx"
        build(bundle, BackendName.ONNX, precision, device=torch.device("cpu"), path=temporary)
        content = temporary.read_bytes()
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(cache_dir / f"{made_from}{_digest(content)}{_SUFFIX}")
    return content


def _kept(cache_dir: Path, made_from: str) -> bytes | None:
    """What an earlier conversion left, if it is still what that wrote; anything else goes."""
    for path in sorted(cache_dir.glob(f"{glob.escape(made_from)}*{_SUFFIX}")):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        if path.name == f"{made_from}{_digest(content)}{_SUFFIX}":
            return content
        _log.warning("%s: damaged, so it is removed and made again", path)
        path.unlink(missing_ok=True)
    return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
