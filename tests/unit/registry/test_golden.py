"""Golden examples cover every column, hold nobody's data, and find out another network."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raymi.data.preprocessing import (
    BytesFeature,
    CategoryFeature,
    ClassTarget,
    NumberFeature,
    NumberTarget,
    Preprocessing,
    TensorFeature,
    TextFeature,
)
from raymi.errors import IntegrityError
from raymi.registry.bundle import load_bundle
from raymi.registry.golden import NUM_ROWS, GoldenExamples, made_up_rows, make_golden
from raymi.registry.signature import InputField, Signature
from raymi.specs.precision import Precision

QUANTILES = (-5.0, 0.0, 7.0)


def field(name, datatype, kind, *, shape=(), nullable=False):
    return InputField(
        name=name, datatype=datatype, shape=shape, nullable=nullable, kind=kind, example=0
    )


FEATURES = {
    "image": (
        TensorFeature(column="image", shape=(2, 3), mean=250.0, std=90.0),
        field("image", "UINT8", "tensor", shape=(2, 3)),
    ),
    "count": (
        NumberFeature(column="count", mean=0.0, std=1.0, quantiles=QUANTILES, nullable=True),
        field("count", "INT64", "number", nullable=True),
    ),
    "big": (
        NumberFeature(column="big", mean=2.0**63, std=2.0**62, quantiles=(), nullable=False),
        field("big", "UINT64", "number"),
    ),
    "flag": (
        CategoryFeature(column="flag", vocabulary=("true", "false"), nullable=False),
        field("flag", "BOOL", "category"),
    ),
    "digit": (
        CategoryFeature(column="digit", vocabulary=("3", "-7", "9007199254740993"), nullable=False),
        field("digit", "INT64", "category"),
    ),
    "colour": (
        CategoryFeature(column="colour", vocabulary=("red", "blue"), nullable=True),
        field("colour", "BYTES", "category", nullable=True),
    ),
    "note": (
        TextFeature(column="note", num_buckets=32, max_words=4, num_grams=3, nullable=False),
        field("note", "BYTES", "text"),
    ),
    "line": (BytesFeature(column="line", max_bytes=9), field("line", "BYTES", "bytes")),
}
TARGET = ClassTarget(column="y", classes=(0, 1))
PREPROCESSING = Preprocessing(features=tuple(f for f, _ in FEATURES.values()), target=TARGET)
SIGNATURE = Signature(inputs=tuple(f for _, f in FEATURES.values()), outputs=())


def golden_of(outputs, precision=Precision.FP32, target=TARGET):
    preprocessing = PREPROCESSING.model_copy(update={"target": target})
    return make_golden(preprocessing, SIGNATURE, lambda _rows: outputs, precision)


def test_every_kind_of_column_is_covered_with_values_it_may_hold():
    rows = made_up_rows(PREPROCESSING, SIGNATURE)

    assert rows.num_rows == NUM_ROWS
    assert set(rows.column("count").to_pylist()) <= {-5, 0, 7, None}
    assert set(rows.column("digit").to_pylist()) <= {3, -7, 9007199254740993}
    assert set(rows.column("colour").to_pylist()) == {"red", "blue", None}
    assert all(1 <= len(text.encode()) <= 9 for text in rows.column("line").to_pylist())
    assert np.array(rows.column("image").to_pylist()).shape == (NUM_ROWS, 6)
    assert PREPROCESSING.encode(rows)["numbers"].shape == (NUM_ROWS, 2)


def test_they_are_always_the_same():
    first, second = (made_up_rows(PREPROCESSING, SIGNATURE) for _ in range(2))

    assert first.equals(second)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    outputs = np.random.default_rng(0).uniform(size=(NUM_ROWS, 2))
    golden = golden_of(outputs)

    golden.save(tmp_path / "golden.arrow")
    loaded = GoldenExamples.load(tmp_path / "golden.arrow", PREPROCESSING, Precision.FP32)

    assert loaded.rows.equals(golden.rows)
    np.testing.assert_array_equal(loaded.outputs, outputs)


@pytest.mark.parametrize(
    ("precision", "difference", "is_same"),
    [
        (Precision.FP32, 0.0005, True),
        (Precision.FP32, 0.002, False),
        (Precision.BF16, 0.02, True),
        (Precision.BF16, 0.1, False),
    ],
)
def test_what_rounding_explains_is_allowed_and_more_is_not(precision, difference, is_same):
    outputs = np.full((NUM_ROWS, 2), 0.5)
    golden = golden_of(outputs, precision)
    found = outputs.copy()
    found[3, 1] += difference

    if is_same:
        golden.require_same(found, name="m", version=1)
    else:
        with pytest.raises(IntegrityError, match="golden examples"):
            golden.require_same(found, name="m", version=1)


def test_numbers_are_compared_in_standard_deviations_of_the_target():
    target = NumberTarget(column="y", mean=0.0, std=1000.0)
    golden = golden_of(np.zeros(NUM_ROWS), target=target)

    golden.require_same(np.full(NUM_ROWS, 0.9), name="m", version=1)
    with pytest.raises(IntegrityError):
        golden.require_same(np.full(NUM_ROWS, 1.1), name="m", version=1)


def test_an_answer_that_is_not_finite_is_never_the_same():
    golden = golden_of(np.zeros(NUM_ROWS))

    with pytest.raises(IntegrityError):
        golden.require_same(np.full(NUM_ROWS, np.nan), name="m", version=1)


def test_a_model_without_finite_answers_cannot_be_registered():
    with pytest.raises(IntegrityError, match="NaN or infinity"):
        golden_of(np.full(NUM_ROWS, np.inf))


def test_a_registered_bundle_answers_its_own(registered):
    bundle = load_bundle(Path(registered.path))
    golden = bundle.golden()

    outputs = bundle.predictor().predict_table(golden.rows).outputs

    golden.require_same(outputs, name="things", version=1)
    assert isinstance(golden.rows, pa.Table)
