"""Statistics agree with numpy and with counting by hand."""

import datetime as dt
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from raymi.data.column_statistics import describe_column
from raymi.data.tensors import tensor_array
from raymi.data.version import MAX_TOP_VALUES, NUM_QUANTILES


def describe(values, arrow_type=None):
    return describe_column(pa.chunked_array([pa.array(values, arrow_type)]))


def test_numbers_agree_with_numpy_and_skip_missing_values():
    values = np.random.default_rng(0).normal(1e6, 3.0, 1000)

    found = describe([None, *values, None])

    assert (found.num_values, found.num_nulls) == (1000, 2)
    assert found.minimum == values.min()
    assert found.maximum == values.max()
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.std == pytest.approx(values.std(), rel=1e-9)
    assert found.quantiles == pytest.approx(np.quantile(values, np.linspace(0, 1, NUM_QUANTILES)))
    assert found.top_values == ()


@pytest.mark.parametrize("values", [["b", "a", "c", "a", "b", "d"], [3, 1, 2, 1, 3, 9]])
def test_the_most_frequent_values_are_counted_with_ties_in_order_of_value(values):
    found = describe([*values, None])

    expected = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    assert found.top_values == tuple(expected)
    assert found.num_distinct == 4


def test_truth_values_are_counted_as_truth_values():
    assert describe([True, False, True]).top_values == ((True, 2), (False, 1))


def test_floats_that_are_all_whole_are_counted_as_integers():
    assert describe([1.0, 2.0, 2.0, None]).top_values == ((2, 2), (1, 1))


def test_words_are_counted_without_building_them():
    texts = ["one", "two  words", " and three words "]

    assert describe(texts).mean_words == np.mean([len(text.split()) for text in texts])


def test_kept_text_is_bounded_in_values_and_in_characters():
    many = describe([str(i) for i in range(MAX_TOP_VALUES + 1)])
    long = describe(["x" * 60_000, "y" * 60_000])

    assert (len(many.top_values), many.num_distinct) == (MAX_TOP_VALUES, MAX_TOP_VALUES + 1)
    assert (len(long.top_values), long.num_distinct) == (1, 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_tensors_agree_with_numpy_over_all_elements(dtype):
    values = np.random.default_rng(0).integers(0, 255, (5000, 2, 3)).astype(dtype)

    found = describe_column(pa.chunked_array([tensor_array(values)]))

    expected = values.astype(np.float64)
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.mean == pytest.approx(expected.mean(), rel=1e-12)
    assert found.std == pytest.approx(expected.std(), rel=1e-12)


@pytest.mark.parametrize(
    ("value", "arrow_type", "seconds"),
    [
        (dt.date(1970, 1, 3), pa.date32(), 2 * 86_400),
        (dt.date(1970, 1, 3), pa.date64(), 2 * 86_400),
        (dt.datetime(1970, 1, 1, 1, tzinfo=dt.UTC), pa.timestamp("s"), 3600),
        (dt.datetime(1970, 1, 1, 1, tzinfo=dt.UTC), pa.timestamp("ns", "UTC"), 3600),
        (dt.time(0, 2), pa.time32("ms"), 120),
        (dt.time(0, 2), pa.time64("us"), 120),
        (dt.timedelta(seconds=7), pa.duration("us"), 7),
    ],
)
def test_times_are_described_in_seconds(value, arrow_type, seconds):
    found = describe([value, None], arrow_type)

    assert found.mean == pytest.approx(seconds)
    assert found.num_distinct == 1


@pytest.mark.parametrize("arrow_type", [pa.null(), pa.string(), pa.float64(), pa.bool_()])
def test_a_column_without_values_has_no_statistics(arrow_type):
    found = describe([None, None], arrow_type)

    assert (found.num_values, found.num_nulls, found.mean, found.top_values) == (0, 2, None, ())
