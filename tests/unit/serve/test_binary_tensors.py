"""Tensors may travel as bytes behind the JSON, in either direction, and mean the same."""

import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymi.serve.binary import DTYPES, LENGTH_HEADER, decode, encode

INFER = "/v2/models/shapes/infer"
PIXELS = np.array([[4, 1, 2, 0], [1, 1, 0, 0]], dtype=np.uint8)
WEIGHT = np.array([0.5, 1.5])
COLOURS = ["red", "äöü"]


def texts(values) -> bytes:
    return b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in values)


def tensor(name, shape, datatype, blob):
    parameters = {"binary_data_size": len(blob)}
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": parameters}, blob


def send(client, *tensors, more=b"", length=None, **members):
    document = {"inputs": [described for described, _ in tensors], **members}
    text = json.dumps(document).encode()
    body = text + b"".join(blob for _, blob in tensors) + more
    return client.post(INFER, content=body, headers={LENGTH_HEADER: length or str(len(text))})


PIXELS_SENT = tensor("pixels", [2, 4], "UINT8", PIXELS.tobytes())
WEIGHT_SENT = tensor("weight", [2], "FP64", WEIGHT.tobytes())
GOOD = (PIXELS_SENT, WEIGHT_SENT)


def test_bytes_mean_what_numbers_in_json_mean(client):
    colours = tensor("colour", [2], "BYTES", texts(COLOURS))
    counts = tensor("count", [2], "INT32", np.array([7, -7], dtype="<i4").tobytes())
    plain = {
        "inputs": [
            {"name": "pixels", "shape": [2, 4], "datatype": "UINT8", "data": PIXELS.tolist()},
            {"name": "weight", "shape": [2], "datatype": "FP64", "data": WEIGHT.tolist()},
            {"name": "colour", "shape": [2], "datatype": "BYTES", "data": COLOURS},
            {"name": "count", "shape": [2], "datatype": "INT32", "data": [7, -7]},
        ]
    }

    answer = send(client, *GOOD, colours, counts)

    assert answer.json() == client.post(INFER, json=plain).json()


@pytest.mark.parametrize(
    "members",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": n, "parameters": {"binary_data": True}}
                     for n in ("label", "probabilities")]},
    ],
)  # fmt: skip
def test_answers_come_as_bytes_when_asked_for(client, members):
    answer = send(client, *GOOD, **members)

    length = int(answer.headers[LENGTH_HEADER])
    label, probabilities = json.loads(answer.content[:length])["outputs"]
    behind = answer.content[length:]
    assert label["parameters"] == {"binary_data_size": 16}
    assert probabilities["parameters"] == {"binary_data_size": 24}
    assert np.frombuffer(behind[:16], "<i8").tolist() == [1, 2]
    assert np.frombuffer(behind[16:], "<f4").tolist() == [0.25, 0.5, 0.25, 0.25, 0.25, 0.5]


def test_an_output_may_stay_json_beside_one_in_bytes(client):
    outputs = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}]

    answer = send(client, *GOOD, outputs=outputs, parameters={"binary_data_output": True})

    label, probabilities = json.loads(answer.content[: int(answer.headers[LENGTH_HEADER])])[
        "outputs"
    ]
    assert label["data"] == [1, 2]
    assert "data" not in probabilities


def test_the_server_says_that_it_speaks_the_extension(client):
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]


@pytest.mark.parametrize(
    ("tensors", "more", "named"),
    [
        ((tensor("pixels", [2, 4], "UINT8", b"1234567"), WEIGHT_SENT), b"", "inputs[0]"),
        ((PIXELS_SENT, tensor("weight", [2], "FP32", WEIGHT.tobytes())), b"", "inputs[1]"),
        (GOOD, b"x", "1 bytes too many"),
        ((*GOOD, tensor("colour", [2], "BYTES", texts(["one"]))), b"", "inputs[2]"),
        ((*GOOD, tensor("colour", [2], "BYTES", texts(["1", "2", "3"]))), b"", "inputs[2]"),
        ((*GOOD, tensor("colour", [1], "BYTES", b"\x02\x00\x00\x00\xff\xff")), b"", "inputs[2]"),
        ((PIXELS_SENT, tensor("weight", [2], "FP64", np.array([1, np.nan]).tobytes())), b"",
         "inputs[1].data[1]"),
        ((tensor("pixels", [2, 4], "INT16", np.full(8, 300, "<i2").tobytes()), WEIGHT_SENT), b"",
         "inputs[0].data[0]"),
    ],
)  # fmt: skip
def test_wrong_bytes_are_refused_by_the_name_of_their_tensor(client, tensors, more, named):
    answer = send(client, *tensors, more=more)

    assert answer.status_code == 422
    assert answer.json()["error"].startswith(named)


@pytest.mark.parametrize("size", [-1, 1.5, "8", True, 10**9])
def test_a_size_that_is_none_is_refused(client, size):
    described = {**PIXELS_SENT[0], "parameters": {"binary_data_size": size}}

    answer = send(client, (described, PIXELS_SENT[1]), WEIGHT_SENT)

    assert answer.status_code == 422


def test_elements_come_once(client):
    described = {**PIXELS_SENT[0], "data": PIXELS.ravel().tolist()}

    answer = send(client, (described, PIXELS_SENT[1]), WEIGHT_SENT)

    assert "`data` is there too" in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "99999999", "9" * 40, "\u00b2"])
def test_a_length_that_is_none_of_the_body_is_a_400(client, length):
    if not length.isascii():
        length = length.encode("latin-1")

    assert send(client, *GOOD, length=length).status_code == 400


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=64), st.integers(0, 80))
def test_garbage_is_never_a_fault_of_the_server(client, body, length):
    answer = client.post(INFER, content=body, headers={LENGTH_HEADER: str(length)})

    assert 400 <= answer.status_code < 500


@given(st.lists(st.text(max_size=8)))
def test_texts_come_back_as_they_went(values):
    blob = encode(values, "BYTES")

    assert decode(memoryview(blob), "BYTES", len(values), "here") == values


@pytest.mark.parametrize("datatype", list(DTYPES))
def test_numbers_come_back_as_they_went(datatype):
    values = np.array([0, 1, 1, 0]).astype(DTYPES[datatype])

    found = decode(memoryview(encode(values, datatype)), datatype, 4, "here")

    assert found.dtype == DTYPES[datatype]
    assert found.tolist() == values.tolist()
