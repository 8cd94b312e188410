"""What a teacher is worth: paired differences with Student's interval."""

import pytest
from scipy import stats

from raymi.bench.teacher_gain import T_975, Pair, TeacherGain, mean_interval, measure
from raymi.errors import SpecError
from raymi.specs.train import TrainSpec

STUDENT = {
    "name": "student",
    "problem": "unused",
    "data": "things",
    "batch": {"global_batch_size": 32, "micro_batch_size": 32},
}


def test_the_table_is_students_distribution():
    expected = [stats.t.ppf(0.975, degrees) for degrees in range(1, len(T_975) + 1)]

    assert list(T_975) == pytest.approx(expected, abs=5e-4)


def test_the_interval_is_that_of_a_paired_t_test():
    values = [0.01, -0.002, 0.004, 0.012, 0.007, 0.003]
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)

    centre, low, high = mean_interval(values)

    assert centre == pytest.approx(sum(values) / 6)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=5e-6)


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("rmse", -1)])
def test_a_gain_is_what_got_better(metric, sign):
    gain = TeacherGain(
        teacher="big@1",
        metric=metric,
        higher_is_better=metric == "accuracy",
        pairs=(Pair(0, alone=0.5, taught=0.75), Pair(1, alone=0.5, taught=0.25)),
    )

    assert gain.gains == [sign * 0.25, sign * -0.25]


@pytest.mark.parametrize(
    ("changes", "num_seeds", "why"),
    [({}, 10, "no `distillation`"), ({"distillation": {"teacher": "big@1"}}, 2, "no interval")],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(
    tmp_path, changes, num_seeds, why
):
    spec = TrainSpec.from_document(STUDENT | changes)

    with pytest.raises(SpecError) as caught:
        measure(spec, num_seeds=num_seeds, store_dir=tmp_path, teach=list, say=print)

    assert why in caught.value.why
    assert list(tmp_path.iterdir()) == []
