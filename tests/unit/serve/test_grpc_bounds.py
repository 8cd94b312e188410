"""A message is refused by the number of its parts before it is unpacked, and for nothing else."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.errors import RequestError
from raymi.serve.grpc import open_inference_pb2 as pb
from raymi.serve.grpc.bounds import require_few_parts

MIB = 1024 * 1024


def field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


@pytest.mark.parametrize("number", [4, 5, 6, 7])
def test_millions_of_empty_parts_are_refused_at_once(number):
    body = field(number, b"") * (8 * MIB)

    began_s = time.process_time()
    with pytest.raises(RequestError, match="too many parts") as refusal:
        require_few_parts(body)

    assert refusal.value.http_status == 413
    assert time.process_time() - began_s < 1.0


@pytest.mark.parametrize("inner", [3, 4])
def test_so_are_those_within_one_tensor(inner):
    with pytest.raises(RequestError, match="too many parts"):
        require_few_parts(field(5, field(inner, b"x") * 100_000))


def test_many_inputs_and_many_elements_are_not_refused():
    request = pb.ModelInferRequest(model_name="wide")
    for index in range(3_000):
        request.inputs.add(name=f"column-{index}", datatype="BYTES", shape=[3])
        request.inputs[-1].contents.bytes_contents.extend([b"a"] * 50)
        request.raw_input_contents.append(bytes(100))

    require_few_parts(request.SerializeToString())


@given(st.binary(max_size=200))
def test_what_is_no_message_is_left_to_protobuf(body):
    require_few_parts(body)
