"""The exported script makes of a row what the platform makes of it, bit for bit."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.data.preprocessing import (
    BytesFeature,
    CategoryFeature,
    ClassTarget,
    NumberFeature,
    Preprocessing,
    TensorFeature,
    TextFeature,
)
from raymi.errors import RequestError
from raymi.registry.signature import InputField, Signature
from raymi.serve.columns import ARROW_TYPES
from raymi.serve.export import standalone
from raymi.serve.rows import parse_rows

TARGET = ClassTarget(column="target", classes=("a", "b"))
FLOATS = st.floats(-1e30, 1e30) | st.floats(-20, 20)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)))


def field(datatype, kind, *, shape=(), nullable=True, max_bytes=None):
    return InputField(
        name="x",
        datatype=datatype,
        shape=shape,
        nullable=nullable,
        kind=kind,
        max_bytes=max_bytes,
        example=None,
    )


def both(feature, of_column: InputField, values: list):
    """What the platform and the script give the network for a column of values."""
    preprocessing = Preprocessing(features=(feature,), target=TARGET)
    signature = Signature(inputs=(of_column,), outputs=())
    rows = [{"x": value} for value in values]
    batch = parse_rows(rows, signature, max_rows=len(rows))
    table = pa.Table.from_batches([batch])
    (expected,) = preprocessing.prepare(preprocessing.encode(table)).values()
    documents = (json.loads(d.model_dump_json()) for d in (preprocessing, signature))
    (found,) = standalone.prepare(json.loads(json.dumps(rows)), *documents).values()
    return expected, found


def assert_same(expected: np.ndarray, found: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@given(
    values=st.lists(FLOATS | st.none(), min_size=1),
    quantiles=st.lists(st.floats(-20, 20), min_size=1, max_size=9).map(sorted),
    datatype=st.sampled_from(["FP64", "FP32"]),
)
def test_numbers(values, quantiles, datatype):
    feature = NumberFeature(
        column="x", mean=1.5, std=2.25, quantiles=tuple(quantiles), nullable=True
    )

    assert_same(*both(feature, field(datatype, "number"), values))


@given(
    values=st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=1),
    quantiles=st.lists(st.integers(-9, 9), min_size=1, max_size=9).map(sorted),
)
def test_whole_numbers(values, quantiles):
    feature = NumberFeature(
        column="x", mean=0.3, std=7.0, quantiles=tuple(map(float, quantiles)), nullable=True
    )

    assert_same(*both(feature, field("INT64", "number"), values))


def test_truth_values_as_numbers():
    feature = NumberFeature(column="x", mean=0.3, std=0.5, quantiles=(0.0, 1.0), nullable=True)

    assert_same(*both(feature, field("BOOL", "number"), [True, None, False]))


@given(st.lists(TEXTS | st.none(), min_size=1), st.data())
def test_categories_of_text(values, data):
    known = [v for v in values if v is not None] or ["nothing"]
    vocabulary = data.draw(st.lists(st.sampled_from(known) | TEXTS, min_size=1))
    feature = CategoryFeature(column="x", vocabulary=tuple(vocabulary), nullable=True)

    assert_same(*both(feature, field("BYTES", "category"), values))


@given(st.lists(FLOATS | st.integers(-(10**9), 10**9).map(float) | st.none(), min_size=1))
@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
def test_categories_of_floats_are_written_as_arrow_writes_them(datatype, values):
    from raymi.data.encoding import category_text

    typed = pa.chunked_array([pa.array(values, pa.float64()).cast(ARROW_TYPES[datatype])])
    texts = [text for text in category_text(typed).to_pylist() if text is not None]
    feature = CategoryFeature(column="x", vocabulary=(*texts, "none of them"), nullable=True)

    expected, found = both(feature, field(datatype, "category"), values)

    assert_same(expected, found)
    assert [index > 0 for index in found[:, 0]] == [value is not None for value in values]


@given(st.lists(st.integers(0, 255) | st.none(), min_size=1))
def test_categories_of_whole_numbers(values):
    feature = CategoryFeature(column="x", vocabulary=("7", "12", "200"), nullable=True)

    assert_same(*both(feature, field("UINT8", "category"), [*values, 7, 12.0, 200]))


def test_categories_of_truth_values():
    feature = CategoryFeature(column="x", vocabulary=("true", "false"), nullable=True)

    assert_same(*both(feature, field("BOOL", "category"), [True, None, False]))


@pytest.mark.parametrize("datatype", ["UINT8", "INT16", "FP32", "FP64"])
@pytest.mark.parametrize("is_flat", [False, True])
def test_blocks_of_numbers(datatype, is_flat):
    blocks = np.random.default_rng(0).integers(0, 256 if datatype == "UINT8" else 9999, (5, 3, 2))
    values = [(b.ravel() if is_flat else b).tolist() for b in blocks]
    feature = TensorFeature(column="x", shape=(3, 2), mean=11.3, std=70.1)

    assert_same(*both(feature, field(datatype, "tensor", shape=(3, 2), nullable=False), values))


@given(st.lists(TEXTS | st.none(), min_size=1), st.integers(2, 1 << 20), st.integers(1, 9))
def test_words(values, num_buckets, num_grams):
    feature = TextFeature(
        column="x", num_buckets=num_buckets, max_words=5, num_grams=num_grams, nullable=True
    )

    assert_same(*both(feature, field("BYTES", "text"), [*values, "Some words, and more. Too many"]))


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=1))
def test_bytes(values):
    longest = max(len(value.encode()) for value in values)
    feature = BytesFeature(column="x", max_bytes=longest)
    taken = field("BYTES", "bytes", nullable=False, max_bytes=longest)

    assert_same(*both(feature, taken, [*values, "\x00"]))


def test_the_answer_after_a_text_is_that_at_its_last_byte():
    outputs = np.arange(2 * 4 * 256, dtype=np.float32).reshape(2, 4, 256)
    octets = np.array([[65, 66, 67, 0], [65, 0, 0, 0]])

    chosen = standalone.after_last_byte(outputs, octets)

    np.testing.assert_array_equal(chosen, [outputs[0, 2], outputs[1, 0]])


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ({"x": 1}, "rows: a list"),
        ([{"x": 1, "y": 2}], r"rows\[0\]\.y: the model has no such column"),
        ([{"x": 1}, {}], r"rows\[1\]\.x: missing"),
        ([{"x": "1"}], r"rows\[0\]\.x: is no INT64"),
        ([{"x": True}], r"rows\[0\]\.x: is no INT64"),
        ([{"x": 1.5}], r"rows\[0\]\.x: is no INT64"),
        ([{"x": float("nan")}], r"rows\[0\]\.x: is no INT64"),
        ([{"x": 2**63}], r"rows\[0\]\.x: is no INT64"),
        ([{"x": 10**400}], r"rows\[0\]\.x: is no INT64"),
    ],
)
def test_a_row_that_the_model_was_not_made_for_is_named(rows, place):
    signature = Signature(inputs=(field("INT64", "number", nullable=False),), outputs=())

    with pytest.raises(ValueError, match=place):
        standalone.check_rows(rows, json.loads(signature.model_dump_json()))


@pytest.mark.parametrize(
    ("datatype", "block", "is_taken"),
    [
        ("UINT8", [[0, 255], [3, 4]], True),
        ("UINT8", [0, 255, 3.0, 4], True),
        ("FP32", [[0.5, 1], [2, 3]], True),
        ("UINT8", [[0, 256], [3, 4]], False),
        ("UINT8", [[0, 256.0], [3, 4]], False),
        ("UINT8", [[0, 1.5], [3, 4]], False),
        ("UINT8", [[0, None], [3, 4]], False),
        ("UINT8", [[0, True], [3, "4"]], False),
        ("FP32", [["0.5", "1"], ["2", "3"]], False),
        ("FP32", [[0, 1e39], [2, 3]], False),
        ("FP64", [[0, float("inf")], [2, 3]], False),
        ("UINT8", [[0, 1, 2], [3, 4, 5]], False),
        ("UINT8", [[0, 10**400], [3, 4]], False),
        ("FP64", [[0, 10**400], [3, 4]], False),
        ("UINT8", 7, False),
    ],
)
def test_a_block_is_taken_if_every_element_fits(datatype, block, is_taken):
    block_field = field(datatype, "tensor", shape=(2, 2), nullable=False)

    assert standalone.is_right_type(block, json.loads(block_field.model_dump_json())) is is_taken


@pytest.mark.parametrize("datatype", ["INT8", "UINT16", "INT64", "UINT64", "FP32", "FP64"])
@given(st.integers() | st.floats())
def test_a_number_is_taken_if_an_endpoint_takes_it(datatype, value):
    taken = field(datatype, "number", nullable=False)
    try:
        parse_rows([{"x": value}], Signature(inputs=(taken,), outputs=()), max_rows=1)
        is_taken = True
    except RequestError:
        is_taken = False

    assert standalone.is_right_type(value, json.loads(taken.model_dump_json())) is is_taken
