"""What counts as the same answer, and on which rows it is looked for."""

import json
from datetime import date
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymi.data import stage as data_stage
from raymi.data.fitting import fit_preprocessing
from raymi.data.preprocessing import ClassTarget, NumberTarget
from raymi.evaluate.predictor import Predictions
from raymi.registry.signature import derive_signature
from raymi.serve.export.parity import compare, judge
from raymi.serve.export.sample_rows import made_up_rows, rows_of_test_split
from raymi.serve.rows import parse_rows
from raymi.specs.backend import ServingPrecision
from raymi.specs.data import DataSpec
from raymi.specs.precision import Precision

FP32, INT8 = ServingPrecision.FP32, ServingPrecision.INT8
CLASSES = ClassTarget(column="y", classes=("a", "b"))
PRICE = NumberTarget(column="y", mean=100.0, std=20.0)


def classes(*first: float) -> Predictions:
    """Predictions by the probability of the first of two classes."""
    return Predictions(CLASSES, np.array([[p, 1 - p] for p in first]))


def test_the_largest_difference_of_any_probability_counts():
    found = compare(Precision.FP32, classes(0.9, 0.3), classes(0.9, 0.25))

    assert found.max_abs_difference == pytest.approx(0.05)
    assert (found.reference, found.labels_differ) == (Precision.FP32, 0)


def test_a_number_is_compared_in_standard_deviations():
    found = compare(
        Precision.FP32,
        Predictions(PRICE, np.array([100.0, 120.0])),
        Predictions(PRICE, np.array([100.0, 115.0])),
    )

    assert (found.max_abs_difference, found.labels_differ) == (0.25, None)


@pytest.mark.parametrize(("before", "after", "differ"), [(0.51, 0.49, 1), (0.50004, 0.49996, 0)])
def test_another_label_counts_unless_the_model_itself_cannot_decide(before, after, differ):
    found = compare(Precision.FP32, classes(0.9, before), classes(0.9, after))

    assert found.labels_differ == differ


@pytest.mark.parametrize(
    ("precision", "difference", "labels", "passes"),
    [
        (FP32, 1e-4, 0, True),
        (FP32, 1.1e-4, 0, False),
        (FP32, 0.0, 1, False),
        (FP32, 1e-4, None, True),
        (INT8, 0.1, 2, True),
        (INT8, 0.11, 0, False),
        (INT8, 0.0, 3, False),
        (INT8, 0.11, None, False),
        (FP32, float("nan"), 0, False),
    ],
)
def test_of_a_hundred_rows_so_many_may_differ(precision, difference, labels, passes):
    measured = compare(Precision.FP32, classes(0.5), classes(0.5)).model_copy(
        update={"max_abs_difference": difference, "labels_differ": labels}
    )

    verdict = judge(measured, precision, 100)

    assert verdict.passed is passes
    assert "100 rows differ by at most" in verdict.sentence


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A dataset with every kind of column, as a bundle knows it."""
    root = tmp_path_factory.mktemp("rows")
    num_rows = 200
    draw = np.random.default_rng(0)
    pq.write_table(
        pa.table(
            {
                "size": pa.array([None if i % 9 == 0 else i / 7 for i in range(num_rows)]),
                "seen": pa.array([date(2026, 1, 1 + i % 28) for i in range(num_rows)]),
                "count": pa.array(range(num_rows), pa.uint8()),
                "old": pa.array([i % 3 == 0 for i in range(num_rows)]),
                "colour": [["red", "blue", None][i % 3] for i in range(num_rows)],
                "image": pa.array(
                    draw.integers(0, 256, (num_rows, 4), dtype=np.uint8).tolist(),
                    pa.list_(pa.uint8(), 4),
                ),
                "note": [f"row number {i} of them" for i in range(num_rows)],
                "y": ["even" if i % 2 else "odd" for i in range(num_rows)],
            }
        ),
        root / "rows.parquet",
    )
    spec = {
        "name": "mixed",
        "root": str(root),
        "sources": [{"path": "rows.parquet"}],
        "target": "y",
        "split": {"test": 0.3},
    }
    dataset = data_stage.run(DataSpec.from_document(spec), store_dir=root / "store")
    preprocessing = fit_preprocessing(dataset, texts=("note",))
    bundle = SimpleNamespace(
        preprocessing=preprocessing,
        signature=derive_signature(preprocessing, dataset),
        lineage=SimpleNamespace(dataset=dataset.summary()),
    )
    return bundle, root / "store"


def test_test_rows_are_those_of_the_split_as_a_client_would_send_them(imported):
    bundle, store_dir = imported

    rows = rows_of_test_split(bundle, store_dir, num_rows=20)

    assert len(rows) == 20
    assert rows == json.loads(json.dumps(rows))
    assert parse_rows(rows, bundle.signature, max_rows=20).num_rows == 20
    notes = {int(row["note"].split()[2]): row for row in rows}
    assert all(row["count"] == index for index, row in notes.items())
    assert all(row["size"] in (None, index / 7) for index, row in notes.items())


def test_without_the_dataset_there_are_no_test_rows(imported, tmp_path):
    bundle, _ = imported

    assert rows_of_test_split(bundle, tmp_path, num_rows=20) == []


def test_made_up_rows_have_gaps_unknown_values_outliers_and_odd_texts(imported):
    bundle, _ = imported

    rows = made_up_rows(bundle.preprocessing, bundle.signature, num_rows=64)

    assert parse_rows(rows, bundle.signature, max_rows=64).num_rows == 64
    assert rows == made_up_rows(bundle.preprocessing, bundle.signature, num_rows=64)
    values = {name: [row[name] for row in rows] for name in rows[0]}
    assert None in values["size"]
    assert None in values["colour"]
    assert None not in values["note"]
    assert {"red", "blue"} < {value for value in values["colour"] if value}
    assert max(value for value in values["size"] if value) > 200 / 7 * 2
    assert {type(value) for value in values["old"]} == {bool}
    assert {"", "a few words"} <= set(values["note"])
    assert any(ord(letter) > 0xFFFF for text in values["note"] for letter in text)
