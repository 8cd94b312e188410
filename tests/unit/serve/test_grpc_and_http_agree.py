"""What a tensor means does not depend on how it travels: JSON, bytes behind JSON, or gRPC."""

import asyncio
import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymi.errors import RequestError
from raymi.serve.binary import DTYPES, LENGTH_HEADER
from raymi.serve.grpc import open_inference_pb2 as pb
from raymi.serve.grpc.codes import code_of
from raymi.serve.grpc.messages import CONTENTS, decode, infer_response, parse
from raymi.serve.protocol import parse_infer
from tests.unit.serve.conftest import MAX_ROWS

QUICK = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = sorted(set(DTYPES) - {"BOOL"})


@st.composite
def requests(draw):
    """Two to four tensors as (name, shape, datatype, elements), right or nearly so."""
    num_rows = draw(st.integers(1, 5))
    pixels = st.lists(st.integers(0, 255), min_size=4 * num_rows, max_size=4 * num_rows)
    column = {"min_size": num_rows, "max_size": num_rows}
    tensors = [
        ("pixels", draw(st.sampled_from([[num_rows, 2, 2], [num_rows, 4]])), "UINT8", draw(pixels)),
        ("weight", [num_rows], *draw(numbers(num_rows))),
    ]
    if draw(st.booleans()):
        colours = st.lists(st.text(st.characters(exclude_categories=["Cs"])), **column)
        tensors.append(("colour", [num_rows], "BYTES", draw(colours)))
    if draw(st.booleans()):
        tensors.append(("count", [num_rows], *draw(numbers(num_rows))))
    return tensors


@st.composite
def numbers(draw, num_rows):
    """A datatype with a place in InferTensorContents, and elements that it can hold."""
    datatype = draw(st.sampled_from([name for name in NUMBERS if name in CONTENTS]))
    dtype = DTYPES[datatype]
    if dtype.kind == "f":
        one = st.floats(width=8 * dtype.itemsize, allow_nan=False, allow_infinity=False)
    else:
        one = st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return datatype, draw(st.lists(one, min_size=num_rows, max_size=num_rows))


def bytes_of(elements, datatype):
    if datatype != "BYTES":
        return np.array(elements, dtype=DTYPES[datatype]).tobytes()
    return b"".join(struct.pack("<I", len(e.encode())) + e.encode() for e in elements)


def over_json(tensors, signature):
    inputs = [
        {"name": name, "shape": shape, "datatype": datatype, "data": elements}
        for name, shape, datatype, elements in tensors
    ]
    return parse_infer(
        json.loads(json.dumps({"inputs": inputs})), signature, max_rows=MAX_ROWS
    ).rows


def over_bytes(tensors, signature):
    blobs = [bytes_of(elements, datatype) for _, _, datatype, elements in tensors]
    inputs = [
        {"name": name, "shape": shape, "datatype": datatype,
         "parameters": {"binary_data_size": len(blob)}}
        for (name, shape, datatype, _), blob in zip(tensors, blobs, strict=True)
    ]  # fmt: skip
    behind = memoryview(b"".join(blobs))
    return parse_infer({"inputs": inputs}, signature, max_rows=MAX_ROWS, behind=behind).rows


def over_grpc(tensors, signature, *, raw):
    request = pb.ModelInferRequest(model_name="shapes")
    for name, shape, datatype, elements in tensors:
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        if raw:
            request.raw_input_contents.append(bytes_of(elements, datatype))
        else:
            plain = [e.encode() if isinstance(e, str) else e for e in elements]
            getattr(tensor.contents, CONTENTS[datatype]).extend(plain)
    sent = decode(pb.ModelInferRequest, request.SerializeToString())
    return parse(sent, signature, max_rows=MAX_ROWS).rows


def outcome(way, *arguments, **options):
    """The rows, or the code and the field at fault."""
    try:
        return way(*arguments, **options)
    except RequestError as error:
        return code_of(error), error.field


@QUICK
@given(tensors=requests())
def test_the_same_tensors_are_the_same_rows_or_the_same_refusal(signature, tensors):
    ways = [
        outcome(over_json, tensors, signature),
        outcome(over_bytes, tensors, signature),
        outcome(over_grpc, tensors, signature, raw=False),
        outcome(over_grpc, tensors, signature, raw=True),
    ]

    assert all(way == ways[0] for way in ways[1:])


@QUICK
@given(body=st.binary(max_size=200))
def test_any_bytes_are_rows_or_a_refusal(signature, body):
    def read():
        return parse(decode(pb.ModelInferRequest, body), signature, max_rows=MAX_ROWS)

    found = outcome(read)

    assert isinstance(found, tuple)


@pytest.mark.parametrize("raw", [False, True])
def test_the_answer_over_http_and_over_grpc_is_the_same(client, signature, host, raw):
    pixels = np.arange(8, dtype=np.uint8)
    inputs = [
        {"name": "pixels", "shape": [2, 4], "datatype": "UINT8", "data": pixels.tolist()},
        {"name": "weight", "shape": [2], "datatype": "FP64", "data": [0.5, 1.5]},
    ]
    body = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": raw}})
    answer = client.post("/v2/models/shapes/infer", content=body)
    length = int(answer.headers.get(LENGTH_HEADER, len(answer.content)))
    said, behind = json.loads(answer.content[:length]), answer.content[length:]

    asked = parse_infer({"inputs": inputs}, signature, max_rows=MAX_ROWS)
    predictions = asyncio.run(host.predict(asked.rows))
    response = infer_response(host.served, asked, predictions, raw=raw)

    assert b"".join(response.raw_output_contents) == behind
    for found, expected in zip(response.outputs, said["outputs"], strict=True):
        assert (found.name, found.datatype, list(found.shape)) == (
            expected["name"],
            expected["datatype"],
            expected["shape"],
        )
        typed = list(getattr(found.contents, CONTENTS[found.datatype]))
        assert typed == expected.get("data", [])
