"""Messages of the protocol to what its HTTP flavour parses, and answers to messages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, Message

from raymi.errors import RequestError
from raymi.evaluate.predictor import Predictions
from raymi.registry.signature import InputField, OutputField, Signature
from raymi.serve.answers import elements_of
from raymi.serve.binary import encode
from raymi.serve.grpc import open_inference_pb2 as pb
from raymi.serve.identity import ServedModel
from raymi.serve.protocol import InferRequest, metadata, parse_infer

CONTENTS: dict[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype -> the member of InferTensorContents that has its elements. Of FP16 there is none."""


_MOST_DIMENSIONS = 32
"""No model has so many: a shape that does is wrong with or without the rest."""


def decode(kind: type[Message], body: bytes) -> Any:
    """A message from its bytes.

    Raises:
        RequestError: 400: they are no such message.
    """
    try:
        return kind.FromString(body)
    except DecodeError:
        raise RequestError(
            "the message cannot be read",
            why=f"its bytes are not a {kind.DESCRIPTOR.full_name}",
            fix="use a client of the Open Inference Protocol, version 2",
            status=400,
        ) from None


def model_path(name: str, version: str) -> dict[str, str]:
    """What a message names, as a path of the HTTP flavour does."""
    return {"name": name, "version": version} if version else {"name": name}


def parse(request: pb.ModelInferRequest, signature: Signature, *, max_rows: int) -> InferRequest:
    """Check an inference request against the model's signature.

    Raises:
        RequestError: Naming the field that is wrong; 413 for too many rows.
    """
    raw = [memoryview(tensor) for tensor in request.raw_input_contents] or None
    if raw is not None and len(raw) != len(request.inputs):
        raise RequestError(
            "raw_input_contents: wrong number of tensors",
            why=f"there are {len(raw)}, and {len(request.inputs)} inputs",
            fix="send the elements of every input there, in the order of `inputs`",
            field="raw_input_contents",
        )
    document: dict[str, Any] = {
        "id": request.id or None,
        "inputs": [
            _tensor(tensor, f"inputs[{index}]", is_raw=raw is not None)
            for index, tensor in enumerate(request.inputs)
        ],
        "outputs": [{"name": output.name} for output in request.outputs],
    }
    return parse_infer(document, signature, max_rows=max_rows, raw=raw)


def _tensor(
    tensor: pb.ModelInferRequest.InferInputTensor, place: str, *, is_raw: bool
) -> dict[str, Any]:
    described = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape[:_MOST_DIMENSIONS]),
    }
    member = CONTENTS.get(tensor.datatype)
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if is_raw and filled:
        raise _wrong_contents(place, "raw_input_contents is there too", tensor.datatype)
    if is_raw:
        return described
    if elsewhere := [name for name in filled if name != member]:
        why = f"{elsewhere[0]} is not where elements of this datatype are"
        raise _wrong_contents(place, why, tensor.datatype)
    if tensor.datatype == "FP16":
        raise _wrong_contents(place, "elements of FP16 have no place there", tensor.datatype)
    # Of a datatype that does not exist there are no elements; the datatype is then refused.
    elements = getattr(tensor.contents, member) if member else ()
    # Another number than the shape says is refused whatever they are, so they are not unpacked.
    elements = list(elements) if len(elements) == math.prod(described["shape"]) else []
    return {
        **described,
        "data": _texts(elements, place) if tensor.datatype == "BYTES" else elements,
    }


def _texts(elements: Sequence[bytes], place: str) -> list[str]:
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError:
        raise RequestError(
            f"{place}.contents: not text",
            why="an element is not UTF-8",
            fix="encode every text in UTF-8",
            field=f"{place}.contents",
        ) from None


def _wrong_contents(place: str, why: str, datatype: str) -> RequestError:
    member = CONTENTS.get(datatype)
    typed = f"in contents.{member}, or " if member else ""
    return RequestError(
        f"{place}.contents: cannot be taken",
        why=why,
        fix=f"send its elements {typed}in raw_input_contents",
        field=f"{place}.contents",
    )


def infer_response(
    served: ServedModel, asked: InferRequest, predictions: Predictions, *, raw: bool
) -> pb.ModelInferResponse:
    """The answer, with elements as bytes if the request had them so."""
    response = pb.ModelInferResponse(
        model_name=served.name, model_version=str(served.version), id=asked.request_id or ""
    )
    raw = raw or any(output.datatype not in CONTENTS for output in asked.outputs)
    for output in asked.outputs:
        tensor = response.outputs.add(
            name=output.name,
            datatype=output.datatype,
            shape=[predictions.num_rows, *output.shape],
        )
        elements = elements_of(predictions, output)
        if raw:
            response.raw_output_contents.append(encode(elements, output.datatype))
        else:
            getattr(tensor.contents, CONTENTS[output.datatype]).extend(_plain(elements))
    return response


def _plain(elements: np.ndarray | list[Any]) -> list[Any]:
    if isinstance(elements, np.ndarray):
        plain: list[Any] = elements.tolist()
        return plain
    return [each.encode() if isinstance(each, str) else each for each in elements]


def model_metadata(served: ServedModel, signature: Signature) -> pb.ModelMetadataResponse:
    """What a model takes and gives, and which version of it answers."""
    known = metadata(served, signature)
    return pb.ModelMetadataResponse(
        name=known["name"],
        versions=known["versions"],
        platform=known["platform"],
        inputs=[_described(field) for field in signature.inputs],
        outputs=[_described(field) for field in signature.outputs],
    )


def _described(
    field: InputField | OutputField,
) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=field.name, datatype=field.datatype, shape=[-1, *field.shape]
    )
