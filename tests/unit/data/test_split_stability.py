"""A row's split depends on its own content and the salt, or on its position, as asked."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.data.hashing import row_hashes
from raymi.data.splitting import SPLITS, assign_splits, positions
from raymi.errors import DataError
from raymi.specs.data import Split, SplitBy, SplitSpec

ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.text(max_size=8),
        st.none() | st.booleans(),
        st.lists(st.integers(0, 255), min_size=3, max_size=3),
    ),
    min_size=1,
    max_size=20,
)
SCHEMA = pa.schema(
    [
        ("integer", pa.int64()),
        ("float", pa.float64()),
        ("text", pa.string()),
        ("truth", pa.bool_()),
        ("pixels", pa.list_(pa.uint8(), 3)),
    ]
)
MANY = pa.table({"x": np.arange(20_000), "y": [f"row {i}" for i in range(20_000)]})


def table_of(rows):
    columns = [
        pa.array(list(c), t) for c, t in zip(zip(*rows, strict=True), SCHEMA.types, strict=True)
    ]
    return pa.table(columns, schema=SCHEMA)


def splits_of(tables, declared=(None,), **fractions):
    spec = SplitSpec(**fractions)
    return [[SPLITS[i] for i in s] for s in assign_splits(tables, declared, spec)]


@given(ROWS, ROWS)
def test_adding_rows_moves_no_other_row(rows, more):
    before = positions(table_of(rows), "salt")

    after = positions(table_of(more + rows), "salt")

    assert (after[len(more) :] == before).all()


@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 5))
def test_order_of_rows_and_columns_and_chunks_do_not_matter(rows, random, chunk):
    order = list(range(len(rows)))
    random.shuffle(order)
    expected = row_hashes(table_of(rows))[order]
    shuffled = table_of(rows).take(order).select(list(reversed(SCHEMA.names)))

    chunked = pa.concat_tables(shuffled.slice(i, chunk) for i in range(0, len(rows), chunk))

    assert (row_hashes(chunked) == expected).all()


def test_equal_rows_share_a_split():
    doubled = pa.concat_tables([MANY, MANY])

    (splits,) = assign_splits([doubled], [None], SplitSpec())

    assert (splits[: len(MANY)] == splits[len(MANY) :]).all()


def test_different_rows_have_different_hashes():
    zeros = pa.table({"x": [0, 0, None, 1], "y": [0, None, 0, 0]})

    assert len(set(row_hashes(MANY))) == len(MANY)
    assert len(set(row_hashes(zeros))) == 4


@pytest.mark.parametrize("narrow", [pa.int8(), pa.uint16(), pa.int32(), pa.float32(), pa.float64()])
def test_storing_a_number_in_another_type_does_not_move_its_row(narrow):
    wide = pa.table({"x": pa.array([0, 1, 2, 100], pa.int64())})

    assert (row_hashes(wide.cast(pa.schema([("x", narrow)]))) == row_hashes(wide)).all()


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.2), (0.3, 0.0), (0.05, 0.5)])
def test_the_fractions_are_met_within_chance(validation, test):
    (splits,) = splits_of([MANY], validation=validation, test=test)

    for split, fraction in ((Split.VALIDATION, validation), (Split.TEST, test)):
        deviation = np.sqrt(fraction * (1 - fraction) / len(MANY))
        assert abs(splits.count(split) / len(MANY) - fraction) <= 4 * deviation


def test_another_salt_draws_another_independent_split():
    first, second = positions(MANY, ""), positions(MANY, "again")

    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(len(MANY))


def test_validation_is_taken_from_training_rows_and_test_rows_stay():
    train, test = splits_of([MANY, MANY], (Split.TRAIN, Split.TEST))

    assert set(train) == {Split.TRAIN, Split.VALIDATION}
    assert set(test) == {Split.TEST}


def test_rows_stay_where_their_sources_say_when_all_three_are_declared():
    declared = (Split.TRAIN, Split.VALIDATION, Split.TEST)

    assert [set(s) for s in splits_of([MANY] * 3, declared)] == [{s} for s in declared]


def test_adding_a_test_file_does_not_reshuffle_validation():
    (alone,) = assign_splits([MANY], [None], SplitSpec())
    with_test, _ = assign_splits([MANY, MANY], [None, Split.TEST], SplitSpec())

    assert ((alone == 1) == (with_test == 1)).all()


@pytest.mark.parametrize(
    ("num_rows", "declared", "missing"),
    [(1, None, "validation|test"), (3, Split.TRAIN, "validation|test"), (9, Split.TEST, "train")],
)  # fmt: skip
def test_a_split_left_without_rows_is_refused(num_rows, declared, missing):
    with pytest.raises(DataError, match=f"no rows for the ({missing}) split"):
        splits_of([MANY.slice(0, num_rows)], (declared,), validation=0.001, test=0.001)


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=4),
    st.sampled_from([(0.05, 0.05), (0.1, 0.2), (0.0, 0.5)]),
)
def test_by_position_the_sources_end_to_end_are_cut_into_three(sizes, fractions):
    sizes = [size + 20 for size in sizes]
    validation, test = fractions
    spec = SplitSpec(by=SplitBy.POSITION, validation=validation, test=test)

    assigned = assign_splits([MANY.slice(0, size) for size in sizes], [None] * len(sizes), spec)

    assert [len(part) for part in assigned] == sizes
    end_to_end = np.concatenate(assigned)
    assert (np.diff(end_to_end) >= 0).all()  # Training, then validation, then test rows.
    for index, fraction in ((1, validation), (2, test)):
        assert abs((end_to_end == index).sum() - fraction * sum(sizes)) <= 0.5


def test_by_position_equal_rows_may_part():
    spec = SplitSpec(by=SplitBy.POSITION, validation=0.25, test=0.25)

    (splits,) = assign_splits([pa.table({"x": [7, 7, 7, 7]})], [None], spec)

    assert splits.tolist() == [0, 0, 1, 2]


def test_by_position_a_declared_test_file_keeps_its_rows():
    spec = SplitSpec(by=SplitBy.POSITION, validation=0.5, test=0.25)
    first, last = MANY.slice(0, 4), MANY.slice(4, 2)

    assigned = assign_splits([first, last], [Split.TRAIN, Split.TEST], spec)

    assert [part.tolist() for part in assigned] == [[0, 0, 1, 1], [2, 2]]


def test_by_position_too_few_rows_are_refused():
    spec = SplitSpec(by=SplitBy.POSITION, validation=0.1, test=0.1)

    with pytest.raises(DataError, match="no rows for the validation split"):
        assign_splits([MANY.slice(0, 4)], [None], spec)
