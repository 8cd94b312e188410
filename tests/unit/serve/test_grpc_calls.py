"""The model speaks the Open Inference Protocol over gRPC, and says what is wrong in its codes."""

import struct
import threading

import grpc
import numpy as np
import pytest
from starlette.testclient import TestClient

import raymi
from raymi.errors import OverloadedError
from raymi.serve.api import build_api
from raymi.serve.grpc import open_inference_pb2 as pb
from raymi.serve.grpc.service import INFER
from raymi.serve.guard import Access, Guard, fingerprint
from raymi.serve.identity import RequestLimits
from tests.unit.serve.conftest import MAX_BYTES, MAX_ROWS, CountingHost, api_of
from tests.unit.serve.grpc_server import serving, stub_of
from tests.unit.serve.one_version import OneVersion
from tests.unit.serve.test_stand_in import Faulty, OnTrial

TOKEN = "s3same"  # noqa: S105 - a test's
TIMEOUT_S = 20


@pytest.fixture
def channel(host):
    with serving(api_of(host)) as opened:
        yield opened


@pytest.fixture
def stub(channel):
    return stub_of(channel)


def typed(name, datatype, shape, **contents):
    return pb.ModelInferRequest.InferInputTensor(
        name=name, datatype=datatype, shape=shape, contents=pb.InferTensorContents(**contents)
    )


def bare(name, datatype, shape):
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)


def request_of(*inputs, model="shapes", **members):
    return pb.ModelInferRequest(model_name=model, inputs=inputs, **members)


PIXELS = typed("pixels", "UINT8", [2, 2, 2], uint_contents=[4, 1, 2, 0, 1, 1, 0, 0])
WEIGHT = typed("weight", "FP64", [2], fp64_contents=[0.5, 1.5])
GOOD = request_of(PIXELS, WEIGHT)
RAW_PIXELS = bytes([4, 1, 2, 0, 1, 1, 0, 0])
RAW_WEIGHT = struct.pack("<2d", 0.5, 1.5)
RAW_GOOD = request_of(
    bare("pixels", "UINT8", [2, 2, 2]),
    bare("weight", "FP64", [2]),
    raw_input_contents=[RAW_PIXELS, RAW_WEIGHT],
)


def refusal_of(call, request, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=TIMEOUT_S, **options)
    return caught.value


def test_typed_tensors_go_in_and_typed_tensors_come_out(stub):
    request = request_of(PIXELS, WEIGHT, id="a-7")

    answer = stub.ModelInfer(request, timeout=TIMEOUT_S)

    label, probabilities = answer.outputs
    assert (answer.model_name, answer.model_version, answer.id) == ("shapes", "4", "a-7")
    assert (label.name, label.datatype, list(label.shape)) == ("label", "INT64", [2])
    assert list(label.contents.int64_contents) == [1, 2]
    assert list(probabilities.shape) == [2, 3]
    assert list(probabilities.contents.fp32_contents) == [0.25, 0.5, 0.25, 0.25, 0.25, 0.5]
    assert not answer.raw_output_contents


def test_who_sends_bytes_gets_bytes(stub):
    answer = stub.ModelInfer(RAW_GOOD, timeout=TIMEOUT_S)

    label, probabilities = answer.raw_output_contents
    assert np.frombuffer(label, "<i8").tolist() == [1, 2]
    assert np.frombuffer(probabilities, "<f4").reshape(2, 3)[0].tolist() == [0.25, 0.5, 0.25]
    assert not any(output.HasField("contents") for output in answer.outputs)


def test_only_the_outputs_asked_for_come_out(stub):
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(name="label")

    answer = stub.ModelInfer(request_of(PIXELS, WEIGHT, outputs=[wanted]), timeout=TIMEOUT_S)

    assert [output.name for output in answer.outputs] == ["label"]


def test_the_server_says_that_it_lives_and_is_ready(stub, host):
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=TIMEOUT_S).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=TIMEOUT_S).ready
    host.is_ready = False
    assert not stub.ServerReady(pb.ServerReadyRequest(), timeout=TIMEOUT_S).ready
    assert not stub.ModelReady(pb.ModelReadyRequest(name="shapes"), timeout=TIMEOUT_S).ready


def test_while_nothing_is_loaded_the_server_lives_and_is_not_ready(host):
    class Loading(OneVersion):
        def active(self):
            raise OverloadedError("loading", why="still", fix="wait", retry_after_s=1)

    limits = RequestLimits(MAX_BYTES, MAX_ROWS)
    with serving(build_api(Loading(host), limits, Guard(Access()))) as channel:
        stub = stub_of(channel)

        assert stub.ServerLive(pb.ServerLiveRequest(), timeout=TIMEOUT_S).live
        assert not stub.ServerReady(pb.ServerReadyRequest(), timeout=TIMEOUT_S).ready


def test_metadata_is_what_http_says(stub, client):
    said = client.get("/v2/models/shapes").json()

    server = stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=TIMEOUT_S)
    model = stub.ModelMetadata(pb.ModelMetadataRequest(name="shapes"), timeout=TIMEOUT_S)

    assert (server.name, server.version) == ("raymi", raymi.__version__)
    assert (model.name, list(model.versions), model.platform) == (
        said["name"],
        said["versions"],
        said["platform"],
    )
    for found, expected in ((model.inputs, said["inputs"]), (model.outputs, said["outputs"])):
        assert [
            {"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in found
        ] == expected


@pytest.mark.parametrize(("name", "version"), [("other", ""), ("shapes", "9"), ("", "")])
def test_another_model_or_version_is_not_found(stub, name, version):
    asked = request_of(PIXELS, WEIGHT, model=name, model_version=version)

    refusals = [
        refusal_of(stub.ModelReady, pb.ModelReadyRequest(name=name, version=version)),
        refusal_of(stub.ModelMetadata, pb.ModelMetadataRequest(name=name, version=version)),
        refusal_of(stub.ModelInfer, asked),
    ]

    assert {refusal.code() for refusal in refusals} == {grpc.StatusCode.NOT_FOUND}
    assert stub.ModelInfer(request_of(PIXELS, WEIGHT, model_version="4")).model_version == "4"


WRONG = {
    "no inputs": request_of(),
    "an unknown input": request_of(typed("pixel", "UINT8", [1, 4], uint_contents=[1] * 4)),
    "an input twice": request_of(PIXELS, PIXELS),
    "a missing input": request_of(PIXELS),
    "no shape": request_of(typed("pixels", "UINT8", [], uint_contents=[1] * 4), WEIGHT),
    "another shape": request_of(typed("pixels", "UINT8", [2, 3], uint_contents=[1] * 6), WEIGHT),
    "a huge shape": request_of(bare("pixels", "UINT8", [2**62, 2**62]), WEIGHT),
    "a huge shape, raw": request_of(
        bare("pixels", "UINT8", [20, 2**31 - 1]), raw_input_contents=[b"\0"]
    ),
    "a thousand dimensions": request_of(bare("pixels", "UINT8", [1] * 1000), WEIGHT),
    "no rows": request_of(bare("pixels", "UINT8", [0, 4]), WEIGHT),
    "fewer rows than none": request_of(bare("pixels", "UINT8", [-1, 4]), WEIGHT),
    "too few elements": request_of(typed("pixels", "UINT8", [2, 4], uint_contents=[1]), WEIGHT),
    "no elements": request_of(bare("pixels", "UINT8", [2, 4]), WEIGHT),
    "elements elsewhere": request_of(typed("pixels", "UINT8", [2, 4], fp32_contents=[1] * 8)),
    "elements in two places": request_of(
        typed("pixels", "UINT8", [2, 4], uint_contents=[1] * 8, int_contents=[1])
    ),
    "another datatype": request_of(typed("pixels", "BOOL", [2, 4], bool_contents=[True] * 8)),
    "no datatype": request_of(bare("pixels", "", [2, 4])),
    "a datatype that is none": request_of(bare("pixels", "FP8", [2, 4])),
    "typed half floats": request_of(bare("pixels", "FP16", [2, 4])),
    "out of range": request_of(typed("pixels", "INT32", [1, 4], int_contents=[1, 2, 300, 4])),
    "NaN": request_of(PIXELS, typed("weight", "FP64", [2], fp64_contents=[float("nan"), 1])),
    "infinite, raw": request_of(
        *RAW_GOOD.inputs, raw_input_contents=[RAW_PIXELS, struct.pack("<2d", float("inf"), 1)]
    ),
    "not UTF-8": request_of(
        PIXELS, WEIGHT, typed("colour", "BYTES", [2], bytes_contents=[b"red", b"\xff"])
    ),
    "an unknown output": request_of(
        PIXELS, WEIGHT, outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="nothing")]
    ),
    "raw and typed": request_of(PIXELS, WEIGHT, raw_input_contents=[RAW_PIXELS, RAW_WEIGHT]),
    "too few raw tensors": request_of(*RAW_GOOD.inputs, raw_input_contents=[RAW_PIXELS]),
    "too many raw tensors": request_of(*RAW_GOOD.inputs, raw_input_contents=[b""] * 3),
    "raw without inputs": request_of(raw_input_contents=[b"1"]),
    "raw, too short": request_of(*RAW_GOOD.inputs, raw_input_contents=[RAW_PIXELS, b"1234567"]),
    "raw, too long": request_of(*RAW_GOOD.inputs, raw_input_contents=[RAW_PIXELS * 2, RAW_WEIGHT]),
    "raw texts that end early": request_of(
        *RAW_GOOD.inputs,
        bare("colour", "BYTES", [2]),
        raw_input_contents=[RAW_PIXELS, RAW_WEIGHT, struct.pack("<I", 2**32 - 1) + b"red"],
    ),
    "raw texts without a length": request_of(
        *RAW_GOOD.inputs,
        bare("colour", "BYTES", [2]),
        raw_input_contents=[RAW_PIXELS, RAW_WEIGHT, b"re"],
    ),
}


@pytest.mark.parametrize("request_", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_refused_and_the_next_call_is_answered(stub, request_):
    refusal = refusal_of(stub.ModelInfer, request_)

    assert refusal.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(refusal.details()) > 20
    assert list(stub.ModelInfer(GOOD).outputs[0].contents.int64_contents) == [1, 2]


def test_the_sentence_is_that_of_http(stub, client):
    tensor = {"name": "pixels", "shape": [2, 3], "datatype": "UINT8", "data": [1] * 6}
    said = client.post("/v2/models/shapes/infer", json={"inputs": [tensor]}).json()["error"]

    refusal = refusal_of(
        stub.ModelInfer, request_of(typed("pixels", "UINT8", [2, 3], uint_contents=[1] * 6))
    )

    assert refusal.details() == said


@pytest.mark.parametrize("body", [b"\xff" * 50, b"\x2a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe"])
def test_bytes_that_are_no_message_are_refused_with_a_sentence(channel, stub, body):
    call = channel.stream_unary(INFER)

    refusal = refusal_of(call, iter([body]))

    assert refusal.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "inference.ModelInferRequest" in refusal.details()
    assert stub.ModelInfer(GOOD, timeout=TIMEOUT_S).outputs


def test_a_call_without_a_message_is_refused(channel):
    refusal = refusal_of(channel.stream_unary(INFER), iter([]))

    assert (refusal.code(), "missing" in refusal.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        True,
    )


def test_a_call_that_is_not_of_the_protocol_is_not_implemented(channel):
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelConfig")

    assert refusal_of(call, b"").code() == grpc.StatusCode.UNIMPLEMENTED


def test_more_than_one_request_may_have_is_refused(stub):
    num_rows = MAX_ROWS + 1
    rows = request_of(typed("pixels", "UINT8", [num_rows, 4], uint_contents=[1] * 4 * num_rows))
    large = request_of(typed("colour", "BYTES", [1], bytes_contents=[b"x" * MAX_BYTES]))

    codes = {refusal_of(stub.ModelInfer, request).code() for request in (rows, large)}

    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_what_is_compressed_is_not_unpacked(stub):
    refusal = refusal_of(stub.ModelInfer, GOOD, compression=grpc.Compression.Gzip)

    assert refusal.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_fault_of_the_network_tells_nothing_of_the_house(stub, host):
    host.fails = True

    refusal = refusal_of(stub.ModelInfer, GOOD)

    assert refusal.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in refusal.details()
    assert "Error" not in refusal.details()


def test_a_busy_model_says_when_to_come_back(stub, host):
    host.is_full = True

    refusal = refusal_of(stub.ModelInfer, GOOD)

    assert refusal.code() == grpc.StatusCode.UNAVAILABLE
    assert dict(refusal.trailing_metadata())["retry-after"] == "1"


def test_where_the_version_on_trial_fails_the_one_before_it_answers(signature):
    models = OnTrial(Faulty(signature, RuntimeError("of the network")), CountingHost(signature))
    limits = RequestLimits(MAX_BYTES, MAX_ROWS)

    with serving(build_api(models, limits, Guard(Access()))) as channel:
        answer = stub_of(channel).ModelInfer(GOOD, timeout=TIMEOUT_S)

    assert (answer.model_version, models.faults) == ("4", [5])


@pytest.fixture
def guarded(host):
    access = Access(token_sha256=(fingerprint(TOKEN),))
    with serving(api_of(host, access)) as channel:
        yield channel


def bearer(token):
    return (("authorization", f"Bearer {token}"),)


@pytest.mark.parametrize("metadata", [(), bearer("s3sam"), (("authorization", TOKEN),)])
def test_without_an_accepted_token_there_is_no_answer(guarded, metadata):
    stub = stub_of(guarded)
    closed = [
        (stub.ServerMetadata, pb.ServerMetadataRequest()),
        (stub.ModelReady, pb.ModelReadyRequest(name="shapes")),
        (stub.ModelMetadata, pb.ModelMetadataRequest(name="shapes")),
        (stub.ModelInfer, GOOD),
    ]

    refusals = [refusal_of(call, request, metadata=metadata) for call, request in closed]

    assert {refusal.code() for refusal in refusals} == {grpc.StatusCode.UNAUTHENTICATED}
    assert TOKEN not in refusals[0].details()
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=TIMEOUT_S).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=TIMEOUT_S).ready


def test_with_one_there_is(guarded):
    answer = stub_of(guarded).ModelInfer(GOOD, timeout=TIMEOUT_S, metadata=bearer(TOKEN))

    assert answer.model_name == "shapes"


def test_who_has_no_token_is_refused_before_the_message_has_come(guarded):
    refused = threading.Event()

    def message_held_back():
        refused.wait(TIMEOUT_S)
        yield GOOD.SerializeToString()

    refusal = refusal_of(guarded.stream_unary(INFER), message_held_back())
    refused.set()

    assert refusal.code() == grpc.StatusCode.UNAUTHENTICATED


def test_both_flavours_share_one_rate_limit(host):
    api = api_of(host, Access(requests_per_s=0.01, burst=2))
    client = TestClient(api)
    assert client.get("/v2").status_code == 200

    with serving(api) as channel:
        stub = stub_of(channel)
        stub.ModelInfer(GOOD, timeout=TIMEOUT_S)
        refusal = refusal_of(stub.ModelInfer, GOOD)

    assert refusal.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(refusal.trailing_metadata())["retry-after"]) > 0


def test_every_answer_is_counted_with_its_version_and_status(host):
    counted = []
    limits = RequestLimits(MAX_BYTES, MAX_ROWS)
    api = build_api(
        OneVersion(host), limits, Guard(Access()), observe=lambda *seen: counted.append(seen[:3])
    )

    with serving(api) as channel:
        stub = stub_of(channel)
        stub.ModelInfer(GOOD, timeout=TIMEOUT_S)
        refusal_of(stub.ModelInfer, request_of())
        stub.ServerLive(pb.ServerLiveRequest(), timeout=TIMEOUT_S)

    assert counted == [(INFER, "4", 200), (INFER, "", 422), ("other", "", 200)]


def test_a_call_is_work_that_replicas_are_scaled_by(host):
    api = api_of(host)

    with serving(api) as channel:
        stub_of(channel).ModelInfer(GOOD, timeout=TIMEOUT_S)

    assert api.ongoing.mean() > 0


def test_an_answer_repeats_the_request_id(stub):
    _, call = stub.ModelInfer.with_call(GOOD, metadata=(("x-request-id", "mine"),))

    assert dict(call.trailing_metadata())["x-request-id"] == "mine"
