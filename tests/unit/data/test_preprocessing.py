"""Rows become network inputs in one way, which agrees with scikit-learn and is stored as JSON."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from raymi.data.fitting import fit_preprocessing
from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.data.preprocessing import (
    MAX_Z_SCORE,
    CategoryFeature,
    ClassTarget,
    NumberFeature,
    NumberTarget,
    Preprocessing,
    TensorFeature,
    TextFeature,
)
from raymi.data.version import Split
from raymi.errors import DataError

CLASSES = ClassTarget(column="label", classes=("no", "yes"))
X = NumberFeature(column="x", mean=10.0, std=2.0, quantiles=(4.0, 10.0, 20.0), nullable=True)


def category(*vocabulary):
    return CategoryFeature(column="c", vocabulary=vocabulary, nullable=True)


def inputs_of(feature, values, arrow_type=None):
    preprocessing = Preprocessing(features=(feature,), target=CLASSES)
    table = pa.table({feature.column: pa.array(values, arrow_type)})
    return preprocessing.prepare(preprocessing.encode(table))


@pytest.fixture
def fitted(import_table, tmp_path):
    """Preprocessing and training rows of a table with numbers, names and a target."""
    rng = np.random.default_rng(0)
    columns = {
        "x": rng.lognormal(size=500),
        "year": rng.integers(1990, 2020, 500),
        "c": rng.choice(["red", "green", "blue"], 500),
        "y": rng.normal(50.0, 7.0, 500),
    }
    dataset = import_table(columns, target="y")
    version, directory = open_dataset(tmp_path / "store", "example")
    return fit_preprocessing(dataset), load_split(directory, version, Split.TRAIN)


def test_numbers_are_standardised_as_scikit_learn_does(fitted):
    preprocessing, train = fitted
    raw = np.stack([train["x"].to_numpy(), train["year"].to_numpy()], axis=1)

    numbers = preprocessing.prepare(preprocessing.encode(train))["numbers"]

    expected = np.clip(StandardScaler().fit_transform(raw), -MAX_Z_SCORE, MAX_Z_SCORE)
    assert numbers.dtype == np.float32
    assert numbers[:, :2] == pytest.approx(expected, abs=1e-5)


def test_ranks_are_the_share_of_training_rows_below(fitted):
    preprocessing, train = fitted
    x = train["x"].to_numpy()

    ranks = preprocessing.prepare(preprocessing.encode(train))["numbers"][:, 2]

    below = np.argsort(np.argsort(x)) / (len(x) - 1)
    assert ranks == pytest.approx(2 * below - 1, abs=2 / 32)


def test_categories_are_told_apart_as_scikit_learn_does(fitted):
    preprocessing, train = fitted
    (feature,) = preprocessing.categories
    order = [sorted(feature.vocabulary, key=feature.vocabulary.index)]
    oracle = OrdinalEncoder(categories=order, dtype=np.int64)

    found = preprocessing.prepare(preprocessing.encode(train))["categories"]

    expected = oracle.fit_transform(train["c"].to_numpy(zero_copy_only=False).reshape(-1, 1)) + 1
    assert found.dtype == np.int64
    assert (found == expected).all()


def test_a_missing_number_is_the_mean_in_the_middle_and_says_that_it_is_missing():
    numbers = inputs_of(X, [None, 12.0], pa.float64())["numbers"]

    assert numbers[0].tolist() == [0.0, 0.0, 1.0]
    assert numbers[1, 0] == 1.0
    assert numbers[1, 2] == 0.0


def test_outliers_are_clipped_and_ranks_end_at_one():
    numbers = inputs_of(X, [1e30, -1e30])["numbers"]

    assert numbers[:, 0].tolist() == [MAX_Z_SCORE, -MAX_Z_SCORE]
    assert numbers[:, 1].tolist() == [1.0, -1.0]


def test_large_numbers_close_together_stay_apart():
    second = NumberFeature(column="x", mean=1.7e9, std=1.0, quantiles=(1.7e9,), nullable=False)

    assert inputs_of(second, [1.7e9, 1.7e9 + 1])["numbers"][:, 0].tolist() == [0.0, 1.0]


def test_times_are_numbers_of_seconds():
    day = NumberFeature(column="x", mean=0.0, std=86_400.0, quantiles=(0.0,), nullable=False)

    assert inputs_of(day, [dt.date(1970, 1, 3)])["numbers"][0, 0] == 2.0


@pytest.mark.parametrize(
    ("vocabulary", "values", "arrow_type"),
    [
        (("3", "12"), [3, 12], pa.int64()),
        (("3", "12"), [3, 12], pa.uint8()),
        (("3", "12"), [3.0, 12.0], pa.float64()),
        (("3", "12"), ["3", "12"], pa.string()),
        (("10000000000", "-1"), [1e10, -1.0], pa.float64()),
        (("true", "false"), [True, False], pa.bool_()),
    ],
)
def test_a_category_is_found_whatever_type_its_value_arrives_in(vocabulary, values, arrow_type):
    assert inputs_of(category(*vocabulary), values, arrow_type)["categories"].tolist() == [[1], [2]]


@pytest.mark.parametrize("values", [[True, False, None] * 70, [3, 10**12, None] * 70])
def test_vocabularies_are_written_as_values_are_looked_up(import_table, values):
    columns = {"row": range(210), "c": values, "y": [float(i) for i in range(210)]}

    fitted = fit_preprocessing(import_table(columns, target="y"), categories=["c"])

    indices = fitted.encode(pa.table(columns))["categories"][:, 0]
    assert (indices == 0).tolist() == [value is None for value in values]


def test_unknown_and_missing_categories_share_index_zero():
    assert inputs_of(category("a"), ["b", None, "a"])["categories"].tolist() == [[0], [0], [1]]


def test_tensors_are_standardised_and_keep_their_shape():
    feature = TensorFeature(column="pixels", shape=(2, 2), mean=100.0, std=50.0)
    pixels = pa.array([[0, 50, 100, 150]], pa.list_(pa.uint8(), 4))

    found = inputs_of(feature, pixels)["tensor:pixels"]

    assert found.dtype == np.float32
    assert found.tolist() == [[[-2.0, -1.0], [0.0, 1.0]]]


def text(*, max_words=4, num_grams=12):
    return TextFeature(
        column="t", num_buckets=1 << 15, max_words=max_words, num_grams=num_grams, nullable=True
    )


def test_text_is_words_in_order_without_case():
    one, same, other, nothing = inputs_of(text(), ["Good day", "good DAY", "day good", None])[
        "tokens:t"
    ]

    assert one.shape == (4, 12)
    assert (one == same).all()
    # The word and its pieces, wherever it stands; the second hash is of it with the next word.
    assert (one[0, [0, *range(2, 12)]] == other[1, [0, *range(2, 12)]]).all()
    assert one[0, 1] != other[1, 1]
    assert one.any(axis=1).tolist() == [True, True, False, False]
    assert not nothing.any()


def test_words_of_one_stem_share_most_of_their_pieces():
    (words,) = inputs_of(text(num_grams=40), ["transfer transfers elephant"])["tokens:t"]

    transfer, transfers, elephant, _ = (set(word[2:]) - {0} for word in words)
    # <tr tra ran ans nsf sfe fer er>, and 7 pieces of 4 letters; hash collisions are rare.
    assert len(transfer) == 15
    assert len(transfer & transfers) == 13
    assert not transfer & elephant


def test_words_and_pieces_beyond_the_limits_are_left_out():
    long, exact = inputs_of(text(max_words=2, num_grams=3), ["one two three four", "one two"])[
        "tokens:t"
    ]

    assert long.shape == (2, 3)
    assert (long[0] == exact[0]).all()
    # Word and pieces are the same; the pair is with what follows, `three` or nothing.
    assert (long[1] == exact[1]).tolist() == [True, False, True]


def test_classes_are_encoded_by_position_and_decoded_back():
    preprocessing = Preprocessing(features=(X,), target=CLASSES)

    indices = preprocessing.encode_target(pa.table({"label": ["yes", "no", "yes"]}))

    assert indices.dtype == np.int64
    assert indices.tolist() == [1, 0, 1]
    assert CLASSES.labels(indices) == ["yes", "no", "yes"]


@pytest.mark.parametrize("value", ["maybe", None])
def test_an_unknown_or_missing_class_is_refused_with_its_row(value):
    preprocessing = Preprocessing(features=(X,), target=CLASSES)

    with pytest.raises(DataError, match="row 2"):
        preprocessing.encode_target(pa.table({"label": ["yes", value]}))


def test_number_targets_are_standardised_and_restored():
    target = NumberTarget(column="y", mean=50.0, std=4.0)
    preprocessing = Preprocessing(features=(X,), target=target)

    encoded = preprocessing.encode_target(pa.table({"y": [50, 58]}))

    assert encoded.dtype == np.float32
    assert encoded.tolist() == [0.0, 2.0]
    assert target.values(encoded).tolist() == [50.0, 58.0]


def test_a_missing_number_target_is_refused_with_its_row():
    target = NumberTarget(column="y", mean=0.0, std=1.0)

    with pytest.raises(DataError, match="row 2 is missing"):
        Preprocessing(features=(X,), target=target).encode_target(pa.table({"y": [1.0, None]}))


def test_preprocessing_survives_json_with_types_of_classes_intact(fitted):
    mixed = ClassTarget(column="label", classes=(False, True))
    preprocessing = Preprocessing(features=(*fitted[0].features, category("1", "b")), target=mixed)

    again = Preprocessing.model_validate_json(preprocessing.model_dump_json())

    assert again == preprocessing
    assert [type(value) for value in again.target.classes] == [bool, bool]
