"""What the OpenAPI document shows is what the endpoint takes."""

import re

import pytest


def operations(document):
    """Every operation: method, path with its examples filled in, and the operation itself."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            examples = {p["name"]: p["example"] for p in operation.get("parameters", ())}
            filled = re.sub(r"{(\w+)}", lambda found, e=examples: e[found.group(1)], path)
            yield method, filled, operation


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json()


def test_every_example_is_answered(client, document):
    asked = []
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        body = content.get("application/json", {}).get("example")

        answer = client.request(method, path, json=body)

        assert answer.status_code == 200, (method, path, answer.text)
        asked.append((method, path))

    assert ("post", "/predict") in asked
    assert ("post", "/v2/models/shapes/versions/4/infer") in asked
    assert len(asked) >= 10


def test_every_refusal_that_is_told_apart_is_documented(document):
    infer = document["paths"]["/v2/models/{name}/infer"]["post"]["responses"]

    assert {"200", "400", "401", "404", "408", "413", "415", "422", "429", "503"} <= set(infer)
