"""The generated messages are those that the protocol's file describes, and the public ones."""

import re
from pathlib import Path

import raymi
from raymi.serve.grpc import open_inference_pb2 as pb

FILE = Path(raymi.__file__).parent / "serve" / "grpc" / "open_inference.proto"

# Written down from the public specification, in the order of the numbers that go over the wire.
PUBLIC = {
    "ModelInferRequest": "model_name model_version id parameters inputs outputs raw_input_contents",
    "ModelInferResponse": "model_name model_version id parameters outputs raw_output_contents",
    "ModelInferRequest.InferInputTensor": "name datatype shape parameters contents",
    "ModelInferResponse.InferOutputTensor": "name datatype shape parameters contents",
    "InferTensorContents": "bool_contents int_contents int64_contents uint_contents "
    "uint64_contents fp32_contents fp64_contents bytes_contents",
    "ModelMetadataResponse": "name versions platform inputs outputs",
}


def described_in_the_file():
    """Message -> its members by number, and service -> its calls, by a reading of our own."""
    text = re.sub(r"//.*", "", FILE.read_text())
    found, path = {}, []
    for part in re.findall(r"[^;{}]+;|[^;{}]*\{|\}", text):
        opened = re.search(r"(message|service|oneof) (\w+) \{", part)
        member = re.search(r"(\w+) = (\d+);", part)
        call = re.search(r"rpc (\w+)", part)
        if call:
            found.setdefault(".".join(path), {})[call[1]] = None
        if part.endswith("{"):
            path.append(opened[2] if opened and opened[1] != "oneof" else "")
            if opened and opened[1] == "message":
                found[".".join(path)] = {}
        elif part.endswith("}"):
            path.pop()
        elif member:
            found[".".join(name for name in path if name)][member[1]] = int(member[2])
    return found


def generated(message, prefix=""):
    name = f"{prefix}{message.name}"
    found = {name: {field.name: field.number for field in message.fields}}
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            found |= generated(nested, f"{name}.")
    return found


def test_the_generated_code_is_that_of_the_file():
    expected = described_in_the_file()
    found = {}
    for message in pb.DESCRIPTOR.message_types_by_name.values():
        found |= generated(message)
    (service,) = pb.DESCRIPTOR.services_by_name.values()
    found[service.name] = {method.name: None for method in service.methods}

    assert found == expected, "run `make protocol`"


def test_names_and_numbers_are_the_public_ones():
    described = described_in_the_file()

    assert pb.DESCRIPTOR.package == "inference"
    for message, members in PUBLIC.items():
        assert [n for n, _ in sorted(described[message].items(), key=lambda item: item[1])] == (
            members.split()
        )
        assert sorted(described[message].values()) == list(range(1, len(members.split()) + 1))
    assert list(described["GRPCInferenceService"]) == [
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
    ]
