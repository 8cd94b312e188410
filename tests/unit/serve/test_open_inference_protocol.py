"""The model speaks the Open Inference Protocol, version 2, in JSON."""

import numpy as np
import pytest

INFER = "/v2/models/shapes/infer"


def tensor(name, shape, datatype, data):
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


PIXELS = tensor("pixels", [2, 2, 2], "UINT8", [4, 1, 2, 0, 1, 1, 0, 0])
WEIGHT = tensor("weight", [2], "FP64", [0.5, 1.5])


def test_tensors_go_in_and_tensors_come_out(client):
    answer = client.post(INFER, json={"id": "a-7", "inputs": [PIXELS, WEIGHT]})

    assert answer.json() == {
        "model_name": "shapes",
        "model_version": "4",
        "id": "a-7",
        "outputs": [
            tensor("label", [2], "INT64", [1, 2]),
            tensor("probabilities", [2, 3], "FP32", [0.25, 0.5, 0.25, 0.25, 0.25, 0.5]),
        ],
    }


def test_only_the_outputs_asked_for_come_out(client):
    body = {"inputs": [PIXELS, WEIGHT], "outputs": [{"name": "label"}]}

    assert [o["name"] for o in client.post(INFER, json=body).json()["outputs"]] == ["label"]


@pytest.mark.parametrize("shape", [[2, 2, 2], [2, 4]])
def test_data_may_be_nested_or_flat_with_either_shape(client, shape):
    flat = PIXELS["data"]
    nested = np.array(flat).reshape(shape).tolist()

    answers = [
        client.post(INFER, json={"inputs": [tensor("pixels", shape, "UINT8", data), WEIGHT]})
        for data in (flat, nested)
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


def test_a_scalar_input_may_have_a_second_dimension_of_one(client):
    column = tensor("weight", [2, 1], "FP32", [[0.5], [1.5]])

    assert client.post(INFER, json={"inputs": [PIXELS, column]}).status_code == 200


def test_nullable_inputs_may_hold_null(client):
    colour = tensor("colour", [2], "BYTES", ["red", None])

    assert client.post(INFER, json={"inputs": [PIXELS, WEIGHT, colour]}).status_code == 200


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "pixel"}, "inputs[0].name"),
        ({"name": "weight"}, "inputs[1].name"),
        ({"name": None}, "inputs[0].name"),
        ({"shape": [2, 2]}, "inputs[0].shape"),
        ({"shape": [0, 2, 2]}, "inputs[0].shape"),
        ({"shape": [True, 2, 2]}, "inputs[0].shape"),
        ({"shape": [3, 2, 2]}, "inputs[0].data"),
        ({"shape": [1, 2, 2], "data": [1, 2, 3, 4]}, "inputs[1].shape"),
        ({"shape": [21, 2, 2]}, "inputs[0].shape"),
        ({"shape": None}, "inputs[0].shape"),
        ({"datatype": "BYTES"}, "inputs[0].datatype"),
        ({"datatype": "STRING"}, "inputs[0].datatype"),
        ({"data": [1, 2, 3]}, "inputs[0].data"),
        ({"data": "abc"}, "inputs[0].data"),
        ({"data": [4, 1, 2, 0, 1, 1, 0, 256]}, "inputs[0].data[1]"),
        ({"data": [4, 1, 2, 0, 1, 1, 0, "0"]}, "inputs[0].data[1]"),
    ],
)
def test_a_wrong_tensor_is_refused_by_the_name_of_its_member(client, change, named):
    answer = client.post(INFER, json={"inputs": [{**PIXELS, **change}, WEIGHT]})

    assert answer.status_code in (413, 422)
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith(f"{named}:")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [3]}, "inputs[0]"),
        ({"inputs": [PIXELS]}, "inputs: weight"),
        ({"inputs": [PIXELS, WEIGHT], "id": 3}, "id"),
        ({"inputs": [PIXELS, WEIGHT], "outputs": {}}, "outputs"),
        ({"inputs": [PIXELS, WEIGHT], "outputs": [{"name": "lable"}]}, "outputs[0].name"),
    ],
)
def test_a_wrong_request_is_refused_by_the_name_of_its_member(client, body, named):
    answer = client.post(INFER, json=body)

    assert answer.status_code == 422
    assert answer.json()["error"].startswith(named)


def test_metadata_says_what_the_model_takes_and_which_version_answers(client):
    for path in ("/v2/models/shapes", "/v2/models/shapes/versions/4"):
        document = client.get(path).json()

        assert document["name"] == "shapes"
        assert document["versions"] == ["4"]
        assert document["fingerprint"] == "ab" * 32
        assert document["inputs"][0] == {"name": "pixels", "datatype": "UINT8", "shape": [-1, 2, 2]}
        assert document["outputs"][1]["shape"] == [-1, 3]


def test_health_says_whether_the_model_is_ready(client, host):
    host.is_ready = False

    live, ready = client.get("/v2/health/live"), client.get("/v2/health/ready")
    model = client.get("/v2/models/shapes/ready")

    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (ready.status_code, ready.json()) == (503, {"ready": False})
    assert (model.status_code, model.json()) == (503, {"name": "shapes", "ready": False})


def test_the_server_introduces_itself(client):
    assert client.get("/v2").json()["name"] == "raymi"


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/shapes/versions/3", "/v2/x"])
def test_what_is_not_served_is_a_404_in_the_protocols_words(client, path):
    answer = client.get(path)

    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


def test_both_formats_give_the_same_answer(client, good_row):
    inputs = [
        tensor("pixels", [1, 2, 2], "UINT8", good_row["pixels"]),
        tensor("weight", [1], "FP64", [good_row["weight"]]),
    ]
    inputs[0]["data"] = [good_row["pixels"]]

    tensors = client.post(INFER, json={"inputs": inputs}).json()["outputs"]
    rows = client.post("/predict", json={"rows": [good_row]}).json()["predictions"]

    assert tensors[0]["data"] == [rows[0]["label"]]
    assert max(tensors[1]["data"]) == rows[0]["probability"]
