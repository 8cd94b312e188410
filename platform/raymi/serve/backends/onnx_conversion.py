"""From a trained network to an ONNX document.

It is for any number of rows. Its inputs are named after the columns, in letters, digits and
underscores; the metadata `raymi.inputs` says which of them is which array of
`Preprocessing.prepare`.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from raymi.data.preprocessing import Preprocessing
from raymi.errors import CapabilityError
from raymi.registry.bundle import Bundle
from raymi.serve.backends.capture import capture, without_bags
from raymi.serve.backends.onnx_names import (
    FINGERPRINT,
    INPUTS,
    OUTPUT,
    PRECISION,
    ROWS,
    input_names,
    quiet_runtime,
)
from raymi.specs.backend import ServingPrecision

_LARGEST_BYTES = 2_000_000_000
"""One file of the format ends at 2 GiB."""


def convert(bundle: Bundle, precision: ServingPrecision) -> bytes:
    """The content of a file.

    Args:
        bundle: The model.
        precision: fp32, or int8: linear layers only, activations quantised as they come.

    Raises:
        CapabilityError: The network cannot be converted.
    """
    with _quietly():
        document = _convert(bundle.model(), bundle.preprocessing)
        if precision is ServingPrecision.INT8:
            document = _quantize(document)
    onnx.helper.set_model_props(
        document,
        {
            INPUTS: json.dumps(input_names(bundle.preprocessing)),
            FINGERPRINT: bundle.fingerprint,
            PRECISION: precision.value,
        },
    )
    content: bytes = document.SerializeToString()
    return content


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
        value.type.tensor_type.shape.dim[0].dim_param = ROWS
    return document


def _quantize(document: Any) -> Any:
    quiet_runtime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(prefix="raymi-quantizing-") as directory:
        quantized = Path(directory) / "quantized.onnx"
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
