"""The Open Inference Protocol, version 2, over HTTP: tensors in, tensors out.

https://github.com/kserve/open-inference-protocol - what it leaves open is settled here:

- A tensor's first dimension is the rows. `data` may be flat or nested like `shape`.
- Numbers are JSON numbers, so any numeric `datatype` is taken for a numeric input as long as
  every value fits the model's own type. BOOL and BYTES must match.
- A tensor input of the model may come with its elements in one dimension, `[N, 64]` for
  `[N, 8, 8]`; a scalar input as `[N]` or `[N, 1]`.
- A nullable input may hold null, and may be left out: then every row lacks it.
- Elements may come and go as bytes behind the JSON; see `raymi.serve.binary`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raymi.errors import RequestError
from raymi.registry.signature import InputField, OutputField, Signature
from raymi.serve.binary import Blobs, decode
from raymi.serve.columns import (
    ARROW_TYPES,
    convert,
    convert_numbers,
    expectation,
    flatten,
    json_type,
)
from raymi.serve.identity import ServedModel
from raymi.serve.rows import shorten, too_many_rows
from raymi.specs.paths import closest

_LARGEST_SIZE = 2**31 - 1
_NOTHING = memoryview(b"")


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What an inference request asked for."""

    rows: pa.RecordBatch
    """One column per input of the signature."""

    outputs: tuple[OutputField, ...]
    """The outputs wanted, in this order."""

    request_id: str | None
    """To be repeated in the answer."""

    binary_outputs: frozenset[str] = frozenset()
    """Names of outputs that are wanted as bytes."""


def parse_infer(
    body: Any,
    signature: Signature,
    *,
    max_rows: int,
    behind: memoryview = _NOTHING,
    raw: Sequence[memoryview] | None = None,
) -> InferRequest:
    """Check a parsed JSON body against the model's signature.

    Args:
        body: The JSON.
        signature: What the model takes and gives.
        max_rows: Of one request.
        behind: Bytes that followed the JSON.
        raw: Elements of each entry of `inputs` as bytes; None: those that come as bytes are behind
            the JSON.

    Raises:
        RequestError: Naming the field that is wrong; 413 for too many rows.
    """
    if not isinstance(body, dict):
        raise RequestError(
            f"the body is {json_type(body)}, not an object",
            why="an inference request is an object with `inputs`",
            fix='send {"inputs": [{"name": ..., "shape": ..., "datatype": ..., "data": ...}]}',
        )
    request_id = body.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise _wrong_type("id", request_id, "text, or leave it out")
    inputs = _inputs_by_name(body.get("inputs"), signature, Blobs(behind), raw)
    outputs = _outputs(body.get("outputs"), signature)
    return InferRequest(
        rows=_rows(inputs, signature, max_rows),
        outputs=outputs,
        request_id=request_id,
        binary_outputs=_binary_outputs(body, outputs),
    )


@dataclass(frozen=True, slots=True)
class _Input:
    """One entry of `inputs`, and where it stands."""

    tensor: dict[str, Any]
    place: str
    blob: memoryview | None
    """Its elements as bytes; None: they are in the JSON."""


def _inputs_by_name(
    inputs: Any, signature: Signature, blobs: Blobs, raw: Sequence[memoryview] | None
) -> dict[str, _Input]:
    if not isinstance(inputs, list) or not inputs:
        found = "an empty list" if inputs == [] else json_type(inputs)
        raise RequestError(
            "inputs: one tensor or more is needed",
            why=f"it is {found if inputs is not None else 'missing'}",
            fix=f"send the inputs {', '.join(f.name for f in signature.inputs)}",
            field="inputs",
        )
    known = [field.name for field in signature.inputs]
    named: dict[str, _Input] = {}
    for index, tensor in enumerate(inputs):
        place = f"inputs[{index}]"
        if not isinstance(tensor, dict):
            raise _wrong_type(place, tensor, "an object")
        name = tensor.get("name")
        if not isinstance(name, str):
            raise _wrong_type(f"{place}.name", name, "the name of an input")
        if name not in known or name in named:
            raise RequestError(
                f"{place}.name: {'given twice' if name in named else 'unknown input'}",
                why=f"the model has one input of each name, and {shorten(name)!r} is not left",
                fix=closest(shorten(name), known),
                field=f"{place}.name",
            )
        blob = _blob(tensor, place, blobs) if raw is None else raw[index]
        named[name] = _Input(tensor, place, blob)
    blobs.finish()
    return named


def _blob(tensor: dict[str, Any], place: str, blobs: Blobs) -> memoryview | None:
    size = _parameter(tensor, "binary_data_size")
    if size is None:
        return None
    if "data" in tensor or type(size) is not int or size < 0:
        raise RequestError(
            f"{place}.parameters.binary_data_size: cannot be taken",
            why="`data` is there too" if "data" in tensor else "it is not a number of bytes",
            fix="send elements either in `data` or as bytes behind the JSON",
            field=f"{place}.parameters.binary_data_size",
        )
    return blobs.take(size, place)


def _parameter(document: dict[str, Any], name: str) -> Any:
    parameters = document.get("parameters")
    return parameters.get(name) if isinstance(parameters, dict) else None


def _binary_outputs(body: dict[str, Any], outputs: tuple[OutputField, ...]) -> frozenset[str]:
    """Each output says for itself, or the request for all."""
    asked = {one["name"]: one for one in body.get("outputs") or ()}
    for_all = _parameter(body, "binary_data_output") is True
    wanted: set[str] = set()
    for output in outputs:
        own = _parameter(asked.get(output.name, {}), "binary_data")
        if own is True or (own is None and for_all):
            wanted.add(output.name)
    return frozenset(wanted)


def _rows(named: dict[str, _Input], signature: Signature, max_rows: int) -> pa.RecordBatch:
    num_rows: int | None = None
    arrays: dict[str, pa.Array] = {}
    for field in signature.inputs:
        given = named.get(field.name)
        if given is None:
            if not field.nullable:
                raise RequestError(
                    f"inputs: {field.name} is missing",
                    why="the model needs this input",
                    fix=f"send {expectation(field)} for each row",
                    field=field.name,
                )
            continue
        shape = _shape(given, field)
        if num_rows is not None and shape[0] != num_rows:
            raise _bad_shape(given, f"{shape[0]} rows, but another input has {num_rows}", field)
        num_rows = shape[0]
        if num_rows > max_rows:
            raise too_many_rows(f"{given.place}.shape", num_rows, max_rows)
        _check_datatype(given, field)
        arrays[field.name] = _column(given, shape, field)
    if num_rows is None:
        raise AssertionError("a request with at least one known input has rows")
    return pa.RecordBatch.from_arrays(
        [
            arrays[field.name]
            if field.name in arrays
            else pa.nulls(num_rows, type=ARROW_TYPES[field.datatype])
            for field in signature.inputs
        ],
        names=[field.name for field in signature.inputs],
    )


def _column(given: _Input, shape: tuple[int, ...], field: InputField) -> pa.Array:
    place = _Place(given.place)
    if given.blob is None:
        return convert(field, _elements(given, shape, field), place)
    datatype = given.tensor["datatype"]
    elements = decode(given.blob, datatype, math.prod(shape), given.place)
    if isinstance(elements, list):
        return convert(field, elements, place)
    if datatype == "BOOL":
        return convert(field, elements.tolist(), place)
    return convert_numbers(field, elements, place)


@dataclass(frozen=True, slots=True)
class _Place:
    """Names a row's value."""

    tensor: str

    def __call__(self, row: int) -> str:
        return f"{self.tensor}.data[{row}]"


def _shape(given: _Input, field: InputField) -> tuple[int, ...]:
    shape = given.tensor.get("shape")
    if not isinstance(shape, list) or not all(map(_is_size, shape)):
        raise RequestError(
            f"{given.place}.shape: not a shape",
            why="it must be a list of whole numbers from 1",
            fix=f"send {_shape_words(field)}",
            field=f"{given.place}.shape",
        )
    if not shape or tuple(shape[1:]) not in _row_shapes(field):
        raise _bad_shape(given, f"a row of {field.name} has shape {list(field.shape)}", field)
    return tuple(shape)


def _is_size(size: Any) -> bool:
    return type(size) is int and 1 <= size <= _LARGEST_SIZE


def _row_shapes(field: InputField) -> tuple[tuple[int, ...], ...]:
    return (field.shape, (math.prod(field.shape),)) if field.shape else ((), (1,))


def _check_datatype(given: _Input, field: InputField) -> None:
    datatype = given.tensor.get("datatype")
    exact = {"BOOL", "BYTES"}
    if datatype == field.datatype:
        return
    if (
        isinstance(datatype, str)
        and datatype in ARROW_TYPES
        and not {datatype, field.datatype} & exact
    ):
        return
    known = isinstance(datatype, str) and datatype in ARROW_TYPES
    raise RequestError(
        f"{given.place}.datatype: wrong datatype",
        why=f"{field.name} is {field.datatype}, not {datatype if known else 'this'}",
        fix=f'send "datatype": "{field.datatype}"',
        field=f"{given.place}.datatype",
    )


def _elements(given: _Input, shape: tuple[int, ...], field: InputField) -> list[Any]:
    data = given.tensor.get("data")
    if not isinstance(data, list):
        raise _wrong_type(f"{given.place}.data", data, f"a list: {expectation(field)}")
    elements = flatten([data], shape) if data and isinstance(data[0], list) else data
    if elements is None or len(elements) != math.prod(shape):
        raise RequestError(
            f"{given.place}.data: wrong shape",
            why=f"it must hold {math.prod(shape)} values, flat or nested like {list(shape)}",
            fix="make `shape` and `data` agree",
            field=f"{given.place}.data",
        )
    return elements


def _outputs(outputs: Any, signature: Signature) -> tuple[OutputField, ...]:
    if outputs is None or outputs == []:
        return signature.outputs
    known = {field.name: field for field in signature.outputs}
    if not isinstance(outputs, list):
        raise _wrong_type("outputs", outputs, "a list of objects with a name")
    names: list[str] = []
    for index, output in enumerate(outputs):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in known or name in names:
            raise RequestError(
                f"outputs[{index}].name: not an output of this model, or given twice",
                why=f"the model has the outputs {', '.join(known)}",
                fix="leave `outputs` away to get all of them",
                field=f"outputs[{index}].name",
            )
        names.append(name)
    return tuple(known[name] for name in names)


def _bad_shape(given: _Input, why: str, field: InputField) -> RequestError:
    return RequestError(
        f"{given.place}.shape: wrong shape",
        why=why,
        fix=f"send {_shape_words(field)}",
        field=f"{given.place}.shape",
    )


def _shape_words(field: InputField) -> str:
    inner = "".join(f", {size}" for size in field.shape)
    return f"[number of rows{inner}]"


def _wrong_type(place: str, value: Any, wanted: str) -> RequestError:
    return RequestError(
        f"{place}: wrong type" if value is not None else f"{place}: missing",
        why=f"it is {json_type(value) if value is not None else 'missing'}",
        fix=f"send {wanted}",
        field=place,
    )


def metadata(served: ServedModel, signature: Signature) -> dict[str, Any]:
    """The protocol's model metadata, and which exact version answers."""
    return {
        "name": served.name,
        "versions": [str(served.version)],
        "platform": "raymi_pytorch",
        "inputs": [_tensor_metadata(field) for field in signature.inputs],
        "outputs": [_tensor_metadata(field) for field in signature.outputs],
        "version": served.version,
        "fingerprint": served.fingerprint,
        "precision": served.precision,
        "backend": served.backend,
        "serving_precision": served.serving_precision or served.precision,
        "max_batch_size": served.max_batch_size,
    }


def _tensor_metadata(field: InputField | OutputField) -> dict[str, Any]:
    return {"name": field.name, "datatype": field.datatype, "shape": [-1, *field.shape]}
