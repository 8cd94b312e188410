"""What each column means is decided from the training rows, by rules that can be read."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from raymi.data.fitting import fit_preprocessing
from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.data.preprocessing import BytesFeature, ClassTarget, NextByteTarget, NumberTarget
from raymi.data.version import Split
from raymi.errors import DataError, SpecError

N = 300
LABELS = ["yes" if i % 2 else "no" for i in range(N)]
NUMBERS = [float(i % 97) for i in range(N)]


@pytest.fixture
def fit(import_table):
    """Import columns (plus a label, unless they have one) and fit; rows are made distinct."""

    def fit(columns, *, ignore=(), **roles):
        columns = {"label": LABELS, **columns}
        num_rows = len(columns["label"])
        version = import_table({"row": range(num_rows), **columns}, target="label")
        return fit_preprocessing(version, ignore=("row", *ignore), **roles)

    return fit


def kinds(preprocessing):
    return {feature.column: feature.kind for feature in preprocessing.features}


SENTENCES = [f"this is message number {i} of many" for i in range(N)]
COLOURS = ["red", "green", "blue"] * (N // 3)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (NUMBERS, "number"),
        ([i % 5 for i in range(N)], "number"),
        ([i % 2 == 0 for i in range(N)], "category"),
        (COLOURS, "category"),
        (pa.array(COLOURS).dictionary_encode(), "category"),
        (SENTENCES, "text"),
        ([[i, i + 1] for i in range(N)], "tensor"),
        ([dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(N)], "number"),
        ([1.0 if i % 2 else None for i in range(N)], "number"),
    ],
)
def test_the_kind_of_a_feature_follows_from_type_and_values(fit, values, kind):
    assert kinds(fit({"x": values})) == {"x": kind}


@pytest.mark.parametrize(
    "values",
    [
        [7.0] * N,
        ["same"] * N,
        [None] * N,
        [f"id-{i:04d}" for i in range(N)],
    ],
)
def test_columns_that_say_nothing_are_left_out(fit, values):
    assert kinds(fit({"x": values, "n": NUMBERS})) == {"n": "number"}


def test_a_vocabulary_holds_all_of_few_values_but_only_repeated_ones_of_many(fit):
    few = [f"c{i % 10}" for i in range(N - 1)] + ["rare"]
    many = [f"c{i % 100}" for i in range(N - 50)] + [f"rare {i}" for i in range(50)]

    few_feature, many_feature = fit({"few": few, "many": many}).categories

    assert len(few_feature.vocabulary) in (10, 11)  # "rare" may have been held out.
    assert not any(value.startswith("rare") for value in many_feature.vocabulary)


def test_roles_overrule_what_columns_look_like(fit):
    columns = {"zip": [i % 40 for i in range(N)], "word": COLOURS, "leak": NUMBERS}

    found = fit(columns, categories=["zip"], texts=["word"], ignore=["leak"])

    assert kinds(found) == {"zip": "category", "word": "text"}
    assert set(found.categories[0].vocabulary) == {str(i) for i in range(40)}


def test_only_training_rows_are_looked_at(fit, tmp_path):
    feature = fit({"x": [i * i * 1.0 for i in range(N)]}).numbers[0]

    version, directory = open_dataset(tmp_path / "store", "example")
    train = load_split(directory, version, Split.TRAIN)["x"]
    assert feature.mean == pytest.approx(pc.mean(train).as_py())
    assert feature.std == pytest.approx(np.std(train.to_numpy()))


@pytest.mark.parametrize(
    ("target", "task", "expected"),
    [
        (LABELS, "auto", ("no", "yes")),
        ([i % 2 == 0 for i in range(N)], "auto", (False, True)),
        ([10 - i % 11 for i in range(N)], "auto", tuple(range(11))),
        ([float(i % 3) for i in range(N)], "classification", (0, 1, 2)),
        ([i % 30 for i in range(N)], "classification", tuple(range(30))),
        ([i % 30 for i in range(N)], "auto", None),
        ([i % 3 for i in range(N)], "regression", None),
        (NUMBERS, "auto", None),
    ],
)
def test_the_task_follows_from_the_target_unless_the_problem_says_it(fit, target, task, expected):
    found = fit({"label": target, "x": NUMBERS}, task=task)

    if expected is None:
        assert isinstance(found.target, NumberTarget)
        assert found.num_outputs == 1
    else:
        assert isinstance(found.target, ClassTarget)
        assert found.target.classes == expected


def test_a_class_that_only_held_out_rows_have_is_still_a_class(import_table, tmp_path):
    labels = ["common"] * 99 + ["usual"] * 100
    salts = (str(salt) for salt in range(100))
    for salt in salts:
        columns = {"x": list(range(200)), "label": [*labels, "rare"]}
        version = import_table(columns, target="label", split={"salt": salt})
        if version.column("label").statistics[Split.TEST].num_distinct == 3:
            break

    found = fit_preprocessing(version)

    assert found.target.classes == ("common", "rare", "usual")


@pytest.mark.parametrize(
    ("columns", "roles", "error", "message"),
    [
        ({"label": ["only"] * N, "x": NUMBERS}, {}, DataError, "only one class, 'only'"),
        ({"label": [str(i) for i in range(N * 5)], "x": [1, 2] * N + NUMBERS * 3}, {}, DataError,
         "more than 1000 classes"),
        ({"label": COLOURS, "x": NUMBERS}, {"task": "regression"}, SpecError, "not a number"),
        ({"label": [i / 7 for i in range(N)], "x": NUMBERS}, {"task": "classification"}, SpecError,
         "fractional part"),
        ({"label": [[1, 2]] * N, "x": NUMBERS}, {}, SpecError, "cannot be predicted"),
        ({"x": ["same"] * N}, {}, DataError, "nothing to learn from"),
        ({"price": NUMBERS}, {"ignore": ["prise"]}, SpecError, "no column 'prise'"),
        ({"x": NUMBERS}, {"ignore": ["label"]}, SpecError, "also in target"),
        ({"x": COLOURS}, {"ignore": ["x"], "texts": ["x"]}, SpecError, "also in ignore"),
        ({"x": NUMBERS}, {"texts": ["x"]}, SpecError, "no text"),
        ({"x": [i / 7 for i in range(N)]}, {"categories": ["x"]}, SpecError, "not whole numbers"),
        ({"x": [[1, 2]] * N}, {"categories": ["x"]}, SpecError, "blocks of numbers"),
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused(fit, columns, roles, error, message):
    with pytest.raises(error, match=message):
        fit(columns, **roles)


def test_a_dataset_without_a_target_is_refused(import_table):
    with pytest.raises(SpecError, match="no target"):
        fit_preprocessing(import_table({"x": NUMBERS}))


@pytest.mark.parametrize(
    ("columns", "target", "ignore"),
    [
        ({"line": SENTENCES}, None, ()),
        ({"line": SENTENCES, "x": NUMBERS}, None, ()),
        ({"line": SENTENCES, "speaker": COLOURS}, "line", ()),
        ({"line": SENTENCES, "speaker": COLOURS}, None, ("speaker",)),
    ],
)
def test_a_text_is_continued_from_its_own_bytes(import_table, columns, target, ignore):
    version = import_table(columns, target=target)

    found = fit_preprocessing(version, task="next_byte", context=64, ignore=ignore)

    assert found.features == (BytesFeature(column="line", max_bytes=64),)
    assert found.target == NextByteTarget(column="line")
    assert found.num_outputs == 256


@pytest.mark.parametrize(
    ("columns", "target", "error", "message"),
    [
        ({"line": SENTENCES, "speaker": COLOURS}, None, SpecError, "continues one column of text"),
        ({"line": SENTENCES, "x": NUMBERS}, "x", SpecError, "target is x"),
        ({"x": NUMBERS}, None, SpecError, "continues one column of text"),
        ({"line": [*SENTENCES[1:], None]}, None, DataError, "missing in 1 rows"),
    ],
)
def test_what_to_continue_must_be_clear_and_complete(import_table, columns, target, error, message):
    with pytest.raises(error, match=message):
        fit_preprocessing(import_table(columns, target=target), task="next_byte")
