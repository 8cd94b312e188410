"""The short way for number tensors takes what the general way takes, and to the same columns."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raymi.errors import RequestError
from raymi.registry.signature import InputField, Signature
from raymi.serve.body import parse_json
from raymi.serve.rows import parse_predict
from raymi.serve.tensor_rows import TensorRowsReader

DATATYPES = ["FP16", "FP32", "FP64", "UINT8", "INT16", "INT64", "UINT64"]

READER = TensorRowsReader(max_rows=8)
"""One for all tests: what it has read before, right or wrong, must not matter."""

numbers = st.integers(-(2**70), 2**70) | st.floats() | st.integers(0, 255)
elements = numbers | st.none() | st.booleans() | st.text(max_size=2)
values = st.recursive(elements, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def field(datatype, shape, name="x"):
    return InputField(
        name=name, datatype=datatype, shape=shape, nullable=False, kind="tensor", example=0
    )


def signature(*fields):
    return Signature(inputs=fields, outputs=())


def short_way(body, of):
    return READER.read(body, of)


def general_way(body, of):
    return parse_predict(parse_json(body), of, max_rows=8)


def require_agreement(body, of):
    """The short way may decline whatever it likes, but must not differ."""
    found = short_way(body, of)
    if found is not None:
        expected = general_way(body, of)
        assert found.rows.equals(expected.rows)
        assert found.rows.schema == expected.rows.schema
        assert found.probabilities == expected.probabilities


@pytest.mark.parametrize("datatype", DATATYPES)
@given(data=st.data())
def test_tensors_of_numbers_become_the_columns_that_the_general_way_makes(datatype, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    whole = st.integers(0, 100)
    element = whole | st.floats(-1000, 1000, width=16) if datatype.startswith("FP") else whole
    num_rows = data.draw(st.integers(1, 4))
    size = int(np.prod(shape))
    flat = [data.draw(st.lists(element, min_size=size, max_size=size)) for _ in range(num_rows)]
    nested = [np.reshape(np.array(row, dtype=object), shape).tolist() for row in flat]
    rows = [data.draw(st.sampled_from(pair)) for pair in zip(flat, nested, strict=True)]
    body = json.dumps({"rows": [{"x": row} for row in rows], "probabilities": True}).encode()
    of = signature(field(datatype, shape))

    assert short_way(body, of) is not None
    require_agreement(body, of)


@given(datatype=st.sampled_from(DATATYPES), rows=st.lists(values, max_size=3))
@example(datatype="FP32", rows=[[[1, 2], [3, 4]]])
@example(datatype="FP32", rows=[[[[1, 2], []], [[3], 4]]])
@example(datatype="FP32", rows=[[[1, 2, 3], [4]]])
@example(datatype="FP32", rows=[[1, [2], 3, 4]])
@example(datatype="UINT8", rows=[[1, 2, 3, 256]])
@example(datatype="UINT8", rows=[[1, 2, 3.0, 4]])
@example(datatype="FP32", rows=[[1, 2, 3, 1e39]])
@example(datatype="INT64", rows=[[2**63, 1, 1, 1]])
def test_what_may_be_wrong_is_never_taken_differently(datatype, rows):
    body = json.dumps({"rows": [{"x": row} for row in rows]}).encode()

    require_agreement_or_refusal(body, signature(field(datatype, (2, 2))))


@given(body=st.binary(max_size=30) | st.text(max_size=30).map(str.encode))
@example(body=b"[" * 5000 + b"]" * 5000)
@example(body=b'{"rows": [{"x": [1, 2, 3, 01]}]}')
@example(body=b'{"rows": [{"x": [1, 2, 3, 4]}]} trailing')
@example(body=b'{"rows": [{"x": [1, 2, 3, 4], "x": [5, 6, 7, 8]}]}')
@example(body=b'{"rows": [{"x": [1, 2, 3, 4]}], "rows": [{"x": [5, 6, 7, 8]}]}')
@example(body=b'{"rows": [{"x": [1, 2, 3, 4]}], "probabilities": 1}')
@example(body=b'{"rows": [{"x": [1, 2, 3, 4]}], "other": true}')
@example(body=b'{"rows": {"x": [1, 2, 3, 4]}}')
@example(body=b'{"rows": [{"x": {"y": 1}}]}')
@example(body=b"[]")
def test_text_that_is_something_else_is_left_to_the_general_way(body):
    assert short_way(body, signature(field("FP32", (2, 2)))) is None


def test_several_columns_may_come_in_any_order():
    of = signature(field("UINT8", (2,), "a"), field("FP32", (1, 2), "b"))
    body = b'{"rows": [{"b": [[0.5, 1]], "a": [1, 2]}, {"a": [3, 4], "b": [2, 3]}]}'

    assert short_way(body, of) is not None
    require_agreement(body, of)


@pytest.mark.parametrize(
    "rest", [field("FP32", (), "s"), field("BYTES", (2,), "s"), field("BOOL", (2,), "s")]
)
def test_models_that_read_something_else_too_are_left_to_the_general_way(rest):
    body = b'{"rows": [{"x": [1, 2, 3, 4], "s": [true, false]}]}'

    assert short_way(body, signature(field("FP32", (4,)), rest)) is None


def test_more_rows_than_are_allowed_are_left_to_the_general_way():
    body = json.dumps({"rows": [{"x": [1, 2]}] * 9}).encode()

    assert short_way(body, signature(field("FP32", (2,)))) is None


def test_a_body_that_the_parser_would_take_much_memory_for_is_left_to_the_general_way():
    body = json.dumps({"rows": [{"x": [0.125] * 200_000}]}).encode()
    of = signature(field("FP32", (200_000,)))

    assert short_way(body, of) is None
    assert general_way(body, of).rows.num_rows == 1


def require_agreement_or_refusal(body, of):
    """What the general way refuses, the short way declines."""
    try:
        general_way(body, of)
    except RequestError:
        assert short_way(body, of) is None
    else:
        require_agreement(body, of)
