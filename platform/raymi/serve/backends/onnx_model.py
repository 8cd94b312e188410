"""A trained network as one ONNX file: converted once, then found by what it was made from.

A file's name ends with the sha256 of its content. One whose content is another is made again.

The file is for any number of rows. Its inputs are named after the columns, in letters, digits
and underscores; the metadata `raymi.inputs` says which of them is which array of
`Preprocessing.prepare`.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from raymi.data.preprocessing import Preprocessing
from raymi.errors import CapabilityError
from raymi.registry.bundle import Bundle
from raymi.serve.backends.capture import blank_inputs, capture, without_bags
from raymi.specs.backend import ServingPrecision

INPUTS = "raymi.inputs"
"""Metadata: the array of `Preprocessing.prepare` for each input, as JSON."""

FINGERPRINT = "raymi.bundle"
"""Metadata: the bundle it was made from."""

PRECISION = "raymi.precision"
"""Metadata: `fp32` or `int8`."""

OUTPUT = "outputs"

_FORMAT = 1
"""Goes up when the conversion changes, so that older files are not found any more."""

_LARGEST_BYTES = 2_000_000_000
"""One file of the format ends at 2 GiB."""

_ROWS = "rows"

_SUFFIX = ".onnx"

_log = logging.getLogger("ray.serve")


def onnx_model(bundle: Bundle, precision: ServingPrecision, *, cache_dir: Path) -> bytes:
    """The content of the file of a bundle's network; converts it unless that has been done.

    Args:
        bundle: The model.
        precision: fp32, or int8: linear layers only, activations quantised as they come.
        cache_dir: Where such files are kept; several processes may share it.

    Raises:
        CapabilityError: The network cannot be converted.
    """
    runtime = version("onnxruntime")
    made_from = f"{bundle.fingerprint}-{precision.value}-onnxruntime-{runtime}-{_FORMAT}-"
    if (found := _kept(cache_dir, made_from)) is not None:
        return found
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".converting-") as directory:
        with _quietly():
            document = _convert(bundle.model(), bundle.preprocessing)
            if precision is ServingPrecision.INT8:
                document = _quantize(document, Path(directory))
        onnx.helper.set_model_props(
            document,
            {
                INPUTS: json.dumps(input_names(bundle.preprocessing)),
                FINGERPRINT: bundle.fingerprint,
                PRECISION: precision.value,
            },
        )
        content: bytes = document.SerializeToString()
        temporary = Path(directory) / "model.onnx"
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
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


def input_names(preprocessing: Preprocessing) -> dict[str, str]:
    """The file's name of each input -> the array of `Preprocessing.prepare` that it is."""
    return name_safely(blank_inputs(preprocessing, 1))


def name_safely(names: Iterable[str]) -> dict[str, str]:
    """Distinct names of ASCII letters, digits and underscores -> the names they stand for.

    >>> name_safely(["numbers", "tensor:left eye", "tensor:left-eye"])
    {'numbers': 'numbers', 'tensor_left_eye': 'tensor:left eye', 'tensor_left_eye_2': ...}
    """
    safe: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"\W+", "_", name, flags=re.ASCII)
        unique, count = plain, 1
        while unique in safe:
            count += 1
            unique = f"{plain}_{count}"
        safe[unique] = name
    return safe


def _convert(model: nn.Module, preprocessing: Preprocessing) -> Any:
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    if size > _LARGEST_BYTES:
        raise CapabilityError(
            f"onnx: the network's weights are {size / 1e9:.1f} GB",
            why="one ONNX file holds 2 GB at most",
            fix="serve it with the backend `eager` or `compile`",
        )
    model = without_bags(model.eval().requires_grad_(requires_grad=False))
    program = capture(model, preprocessing)
    try:
        converted = torch.onnx.export(
            program,
            input_names=list(input_names(preprocessing)),
            output_names=[OUTPUT],
            external_data=False,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise CapabilityError(
            "onnx: the network cannot be converted",
            why=" ".join(str(error).split())[:300],
            fix="serve it with the backend `eager` or `compile`",
        ) from error
    assert converted is not None  # noqa: S101 - only a path to write to makes it None
    document = converted.model_proto
    # Shapes between layers name the rows as the tracer did, and quantisation trips over them.
    del document.graph.value_info[:]
    for value in (*document.graph.input, *document.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = _ROWS
    return document


def quiet_runtime() -> Any:
    """ONNX Runtime, imported when it is needed, and told to report to nobody.

    Its builds record events about sessions and send them to Microsoft unless this is called.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _quantize(document: Any, directory: Path) -> Any:
    quiet_runtime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = directory / "quantized.onnx"
    quantize_dynamic(
        document,
        quantized,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        # Seven bits of weight: sums of eight overflow on processors without VNNI, unseen.
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )
    return onnx.load(quantized)


@contextmanager
def _quietly() -> Iterator[None]:
    """Converters tell of their own deprecations, and of packages that nobody asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
