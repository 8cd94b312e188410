"""What the endpoints' OpenAPI document says about bodies, drawn from the model's signature."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from raymi.registry.signature import InputField, Signature
from raymi.serve.columns import expectation
from raymi.serve.rows import example_row

_REFUSED = {
    "401": "No token, or one that is not accepted.",
    "429": "Too many requests; see the retry-after header.",
}


def predict_operation(signature: Signature) -> dict[str, Any]:
    """Request and answers of POST /predict."""
    row = {
        "type": "object",
        "additionalProperties": False,
        "required": [field.name for field in signature.inputs if not field.nullable],
        "properties": {field.name: _schema(field) for field in signature.inputs},
    }
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["rows"],
        "properties": {
            "rows": {"type": "array", "minItems": 1, "items": row},
            "probabilities": {"type": "boolean", "default": False},
        },
    }
    return _operation(schema, {"rows": [example_row(signature)]}, "application/problem+json")


def infer_operation(signature: Signature) -> dict[str, Any]:
    """Request and answers of the Open Inference Protocol's infer."""
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string", "enum": [field.name for field in signature.inputs]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "datatype": {"type": "string"},
            "data": {"type": "array", "items": {}},
        },
    }
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "minItems": 1, "items": tensor},
            "outputs": {
                "type": "array",
                "items": {"type": "object", "properties": {"name": {"type": "string"}}},
            },
        },
    }
    operation = _operation(schema, example_infer(signature), "application/json")
    operation["requestBody"]["content"]["application/octet-stream"] = {
        "schema": {"type": "string", "format": "binary"}
    }
    return operation


def path_parameters(path: str, served: Mapping[str, str]) -> dict[str, Any]:
    """The parameters in a path such as `/v2/models/{name}`, and what answers to them.

    Args:
        path: The path.
        served: By parameter, the value that is served.
    """
    return {
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
                "example": served[name],
            }
            for name in re.findall(r"{(\w+)}", path)
        ]
    }


def page(more: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Answers of a page beside 200: those that every page may give, and its own by status."""
    statuses = {**_REFUSED, **more}
    return {"responses": {status: {"description": text} for status, text in statuses.items()}}


def example_infer(signature: Signature) -> dict[str, Any]:
    """An inference request this model takes, with one row."""
    return {
        "inputs": [
            {
                "name": field.name,
                "shape": [1, *field.shape],
                "datatype": field.datatype,
                "data": [field.example],
            }
            for field in signature.inputs
        ]
    }


def _operation(schema: dict[str, Any], example: dict[str, Any], error_type: str) -> dict[str, Any]:
    wrong = {"content": {error_type: {"schema": {"type": "object"}}}}
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example}},
        },
        "responses": {
            **{status: {"description": text, **wrong} for status, text in _REFUSED.items()},
            "404": {"description": "Another model, or a version that is not loaded.", **wrong},
            "408": {"description": "The body is late.", **wrong},
            "400": {"description": "The body is not JSON.", **wrong},
            "413": {"description": "Too many bytes or rows.", **wrong},
            "415": {"description": "The content type is not JSON.", **wrong},
            "422": {"description": "A field is wrong; the answer names it.", **wrong},
            "503": {"description": "Busy; see the retry-after header.", **wrong},
        },
    }


def _schema(field: InputField) -> dict[str, Any]:
    schema = _element_schema(field.datatype)
    if field.max_bytes is not None:
        schema |= {"minLength": 1, "maxLength": field.max_bytes}
    for size in reversed(field.shape):
        schema = {"type": "array", "minItems": size, "maxItems": size, "items": schema}
    schema["description"] = expectation(field)
    if field.nullable:
        schema["type"] = [schema["type"], "null"]
    return schema


def _element_schema(datatype: str) -> dict[str, Any]:
    match datatype:
        case "BYTES":
            return {"type": "string"}
        case "BOOL":
            return {"type": "boolean"}
        case _ if datatype.startswith("FP"):
            return {"type": "number"}
        case _:
            return {"type": "integer"}
