"""POST /predict answers good rows, and names what is wrong with every other body."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def test_each_row_gets_its_label_probability_and_the_version_that_said_so(client, good_row):
    other = {**good_row, "pixels": [1, 1, 0, 0]}

    answer = client.post("/predict", json={"rows": [good_row, other]})

    assert answer.json() == {
        "model": "shapes",
        "version": 4,
        "predictions": [{"label": 1, "probability": 0.5}, {"label": 2, "probability": 0.5}],
    }


def test_probabilities_of_every_class_come_on_request(client, good_row):
    answer = client.post("/predict", json={"rows": [good_row], "probabilities": True})

    assert answer.json()["predictions"][0]["probabilities"] == {"0": 0.25, "1": 0.5, "2": 0.25}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pixels": [1, 2, 3]}, "rows[1].pixels"),
        ({"pixels": [[1, 2], [3]]}, "rows[1].pixels"),
        ({"pixels": [1, 2, 3, 256]}, "rows[1].pixels"),
        ({"pixels": [1, 2, 3, -1]}, "rows[1].pixels"),
        ({"pixels": [1, 2, 3, 0.5]}, "rows[1].pixels"),
        ({"pixels": [1, 2, 3, True]}, "rows[1].pixels"),
        ({"pixels": [1, 2, 3, None]}, "rows[1].pixels"),
        ({"pixels": None}, "rows[1].pixels"),
        ({"weight": "1.5"}, "rows[1].weight"),
        ({"weight": True}, "rows[1].weight"),
        ({"weight": None}, "rows[1].weight"),
        ({"weight": 10**400}, "rows[1].weight"),
        ({"colour": 7}, "rows[1].colour"),
        ({"colour": "\ud800"}, "rows[1].colour"),
        ({"count": 1.5}, "rows[1].count"),
        ({"count": 2**63}, "rows[1].count"),
        ({"wieght": 1.0}, "rows[1].wieght"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(client, good_row, change, field):
    body = json.dumps({"rows": [good_row, {**good_row, **change}]})

    answer = client.post("/predict", content=body)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused_by_the_name_of_their_field(client, token):
    body = f'{{"rows": [{{"pixels": [1, 2, 3, 4], "weight": {token}}}]}}'

    answer = client.post("/predict", content=body)

    assert (answer.status_code, answer.json()["field"]) == (422, "rows[0].weight")


def test_nullable_columns_may_be_left_out_and_others_may_not(client):
    enough = {"rows": [{"pixels": [1, 2, 3, 4], "weight": 1}]}
    too_little = {"rows": [{"pixels": [1, 2, 3, 4]}]}

    assert client.post("/predict", json=enough).status_code == 200
    assert client.post("/predict", json=too_little).json()["field"] == "rows[0].weight"


def test_a_misspelt_column_is_answered_with_the_right_one(client, good_row):
    answer = client.post("/predict", json={"rows": [{**good_row, "color": "red"}]})

    assert answer.json()["try"] == "did you mean 'colour'?"


@pytest.mark.parametrize(
    "body",
    [[], {}, None, 3, {"rows": []}, {"rows": {}}, {"rows": [1]}, {"row": [], "rows": []}],
    ids=json.dumps,
)
def test_a_body_without_rows_is_answered_with_one_that_works(client, body):
    refusal = client.post("/predict", content=json.dumps(body)).json()

    example = refusal["try"].removeprefix("send ")
    assert refusal["status"] == 422
    assert "pixels" in json.loads(example).get("rows", [json.loads(example)])[0]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe\xfa", b"[" * 3000, b'{"rows": [%s]}' % (b"9" * 5000)]
)
def test_a_body_that_is_not_json_is_a_400(client, body):
    assert client.post("/predict", content=body).status_code == 400


def test_a_body_over_the_limit_is_a_413_however_it_announces_itself(client):
    unannounced = (b" " * 1000 for _ in range(9))

    assert client.post("/predict", content=b" " * 9000).status_code == 413
    assert client.post("/predict", content=unannounced).status_code == 413


def test_rows_over_the_limit_are_a_413(client, good_row):
    answer = client.post("/predict", json={"rows": [{}] * 21})

    assert (answer.status_code, answer.json()["field"]) == (413, "rows")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/csv"},
        {"content-type": "application/octet-stream"},
        {"content-encoding": "gzip"},
    ],
)
def test_bodies_in_another_format_are_a_415(client, headers):
    assert client.post("/predict", content=b"{}", headers=headers).status_code == 415


def test_unknown_paths_and_methods_are_problem_documents_too(client):
    missing, wrong = client.get("/nothing"), client.get("/predict")

    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.headers["content-type"] == wrong.headers["content-type"]
    assert wrong.headers["allow"] == "POST"


def test_a_fault_of_the_server_tells_nothing_about_itself(client, host, good_row):
    host.fails = True

    answer = client.post("/predict", json={"rows": [good_row]})

    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_a_refusal_does_not_repeat_what_was_sent(client, good_row):
    answer = client.post("/predict", json={"rows": [{**good_row, "weight": "4111-1111"}]})

    assert "4111" not in answer.text


def test_the_openapi_document_describes_a_row(client):
    document = client.get("/openapi.json").json()

    operation = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    row = operation["application/json"]["schema"]["properties"]["rows"]["items"]
    assert row["required"] == ["pixels", "weight"]
    assert "/v2/models/{name}/infer" in document["paths"]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from([2**63, -(2**63) - 1, 1e39, "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "rows",
                    "pixels",
                    "weight",
                    "colour",
                    "count",
                    "probabilities",
                    "inputs",
                    "name",
                    "shape",
                    "datatype",
                    "data",
                    "outputs",
                    "id",
                    "\ud800",
                    "",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("path", ["/predict", "/v2/models/shapes/infer"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=JSON_VALUES.map(json.dumps).map(str.encode)
    | st.lists(JSON_VALUES, max_size=3).map(lambda rows: json.dumps({"rows": rows}).encode())
    | st.lists(JSON_VALUES, max_size=3).map(lambda inputs: json.dumps({"inputs": inputs}).encode())
    | st.binary(max_size=64)
)
def test_no_body_is_ever_the_servers_fault(client, good_row, path, body):
    answer = client.post(path, content=body)

    assert answer.status_code < 500
    assert client.post("/predict", json={"rows": [good_row]}).status_code == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(column=st.sampled_from(["pixels", "weight", "colour", "count"]), value=JSON_VALUES)
def test_one_odd_value_is_either_taken_or_named(client, good_row, column, value):
    body = json.dumps({"rows": [{**good_row, column: value}]})

    answer = client.post("/predict", content=body)

    assert answer.status_code == 200 or answer.json()["field"] == f"rows[0].{column}"
