"""Every metric is the one scikit-learn or the paper defines, for any predictions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as sklearn

from raymi.evaluate import metrics

COUNTS = st.integers(2, 60)
FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)


@st.composite
def classified(draw):
    """Probabilities (N, C) and targets (N,)."""
    num_rows, num_classes = draw(COUNTS), draw(st.integers(2, 6))
    scores = draw(hnp.arrays(np.float64, (num_rows, num_classes), elements=st.floats(-20, 20)))
    targets = draw(hnp.arrays(np.int64, num_rows, elements=st.integers(0, num_classes - 1)))
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True), targets


@st.composite
def measured(draw):
    """Predicted and true numbers (N,)."""
    num_rows = draw(COUNTS)
    values = hnp.arrays(np.float64, num_rows, elements=FINITE)
    return draw(values), draw(values)


@given(classified())
def test_accuracy_f1_and_loss_are_scikit_learns(case):
    probabilities, targets = case
    predicted = probabilities.argmax(axis=1)
    labels = range(probabilities.shape[1])

    loss = sklearn.log_loss(targets, probabilities, labels=labels)
    f1 = sklearn.f1_score(targets, predicted, average="macro")

    assert metrics.accuracy(predicted, targets) == sklearn.accuracy_score(targets, predicted)
    assert metrics.macro_f1(predicted, targets) == pytest.approx(f1)
    assert metrics.negative_log_likelihood(probabilities, targets) == pytest.approx(loss, abs=1e-9)


@given(classified())
def test_recall_by_class_is_scikit_learns(case):
    probabilities, targets = case
    predicted, num_classes = probabilities.argmax(axis=1), probabilities.shape[1]

    recalls = metrics.recall_by_class(predicted, targets, num_classes)

    for label, (num_rows, recall) in enumerate(recalls):
        assert num_rows == np.sum(targets == label)
        if num_rows:
            expected = sklearn.recall_score(targets, predicted, labels=[label], average="macro")
            assert recall == pytest.approx(expected)
        else:
            assert recall is None


@given(measured())
def test_regression_metrics_are_scikit_learns(case):
    predicted, targets = case

    assert metrics.rmse(predicted, targets) == pytest.approx(
        sklearn.root_mean_squared_error(targets, predicted)
    )
    assert metrics.mae(predicted, targets) == pytest.approx(
        sklearn.mean_absolute_error(targets, predicted)
    )
    assert metrics.r2(predicted, targets) == pytest.approx(sklearn.r2_score(targets, predicted))


def test_calibration_error_of_a_worked_example():
    # Two rows at confidence 0.9, one right; two at 0.6, both right: bins of two rows each.
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6]])
    targets = np.array([0, 0, 0, 1])

    error = metrics.expected_calibration_error(probabilities, targets)

    assert error == pytest.approx(0.5 * abs(0.9 - 0.5) + 0.5 * abs(0.6 - 1.0))


@given(classified())
def test_calibration_error_equals_the_loop_of_its_definition(case):
    probabilities, targets = case
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    expected = 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())

    error = metrics.expected_calibration_error(probabilities, targets)

    assert error == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 2000), st.floats(0, 1))
def test_the_accuracy_interval_is_wilsons(num_rows, share):
    num_correct = round(share * num_rows)
    expected = stats.binomtest(num_correct, num_rows).proportion_ci(method="wilson")

    low, high = metrics.wilson_interval(num_correct, num_rows)

    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0.0 <= low <= num_correct / num_rows <= high <= 1.0


def test_the_rmse_interval_is_the_percentile_bootstraps():
    draw = np.random.default_rng(1)
    targets = draw.normal(size=300)
    predicted = targets + draw.normal(size=300)
    expected = stats.bootstrap(
        (np.square(predicted - targets),), lambda x, axis: np.sqrt(x.mean(axis=axis)),
        method="percentile", rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip

    low, high = metrics.bootstrap_rmse_interval(predicted, targets)

    assert (low, high) == pytest.approx((expected.low, expected.high), rel=0.02)
    assert (low, high) == metrics.bootstrap_rmse_interval(predicted, targets)


def test_a_certain_mistake_costs_a_finite_loss():
    loss = metrics.negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1]))

    assert loss == pytest.approx(-math.log(np.finfo(np.float64).eps))


def test_the_interval_of_a_ratio_is_that_of_its_normal_approximation():
    draw = np.random.default_rng(3)
    counts = draw.integers(20, 60, 4000).astype(float)
    sums = counts * 2.0 + draw.normal(0.0, 5.0, 4000)

    low, high = metrics.bootstrap_ratio_interval(sums, counts)

    # The delta method: the variance of a ratio of means (Cochran, Sampling Techniques, 2.29).
    ratio = sums.sum() / counts.sum()
    error = np.sqrt(np.var(sums - ratio * counts) / len(sums)) / counts.mean()
    assert low == pytest.approx(ratio - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(ratio + 1.96 * error, abs=0.3 * error)


def test_rows_with_nothing_to_count_do_not_move_a_ratio():
    sums, counts = np.array([6.0, 0.0, 6.0]), np.array([3.0, 0.0, 3.0])

    assert metrics.bootstrap_ratio_interval(sums, counts) == (2.0, 2.0)
