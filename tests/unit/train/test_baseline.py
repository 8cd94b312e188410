"""A golden loss curve is read from a finished run, and tells which values have left it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.errors import ConflictError, NotFoundError
from raymi.models.architecture import Architecture
from raymi.train.baseline import (
    Baseline,
    EpochPoint,
    Tolerance,
    compare,
    record_baseline,
    require_comparable,
)
from raymi.train.events import EVENTS_FILE, EventLog
from raymi.train.run_files import RESULT_FILE

LOSSES = [(0.9, 0.8, 0.7), (0.5, 0.45, 0.85), (0.3, 0.33, 0.9)]
EXACT = Tolerance(relative=0.0, absolute=0.0, reason="a test")


def write_run(run_dir: Path, losses=LOSSES, *, num_attempts=1, is_finished=True) -> Path:
    run_dir.mkdir()
    log = EventLog(run_dir / EVENTS_FILE)
    for _ in range(num_attempts):
        log.append("attempt", step=0, num_workers=2)
    for epoch, (train_loss, loss, accuracy) in enumerate(losses, start=1):
        log.append("epoch", epoch=epoch, train_loss=train_loss, loss=loss, accuracy=accuracy)
        log.append("checkpoint", step=epoch)
    result = {
        "problem": "jobs.digits.problem",
        "spec_fingerprint": "a" * 64,
        "architecture": {"name": "cnn", "arguments": {"hidden": 64}},
        "dataset": {"fingerprint": "d" * 64},
        "primary_metric": "accuracy",
        "samples_per_s": 1234.5,
        "provenance": {"hardware": {"accelerator": "cpu"}, "environment": {"torch": "2.13.0"}},
    }
    if is_finished:
        (run_dir / RESULT_FILE).write_text(json.dumps(result))
    return run_dir


@pytest.fixture
def kept(tmp_path) -> Baseline:
    return record_baseline(write_run(tmp_path / "kept"), tolerance=EXACT)


def with_curve(baseline: Baseline, change) -> Baseline:
    """The same with every value changed by `change(epoch, name, value)`."""
    curve = [
        EpochPoint(
            epoch=point.epoch,
            values={name: change(point.epoch, name, v) for name, v in point.values.items()},
        )
        for point in baseline.curve
    ]
    return baseline.model_copy(update={"curve": tuple(curve)})


def test_a_baseline_is_what_the_run_wrote_down(kept):
    assert [tuple(point.values.values()) for point in kept.curve] == LOSSES
    assert list(kept.curve[0].values) == ["train_loss", "loss", "accuracy"]
    assert [point.epoch for point in kept.curve] == [1, 2, 3]
    assert (kept.accelerator, kept.num_workers, kept.torch) == ("cpu", 2, "2.13.0")
    assert (kept.spec_fingerprint, kept.dataset_fingerprint) == ("a" * 64, "d" * 64)


def test_a_baseline_survives_being_written(kept, tmp_path):
    kept.save(tmp_path / "cpu.json")

    assert Baseline.load(tmp_path / "cpu.json") == kept


def test_a_curve_does_not_differ_from_itself(kept):
    assert compare(kept, kept) == ()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"is_finished": False}, "not ended well"),
        ({"num_attempts": 2}, "2 attempts"),
        ({"losses": [(0.9, float("nan"), 0.7)]}, "epoch 1 has no loss"),
    ],
)
def test_a_run_with_a_gap_in_its_curve_is_refused(tmp_path, options, why):
    with pytest.raises(ConflictError) as caught:
        record_baseline(write_run(tmp_path / "run", **options))

    assert why in caught.value.why


def test_a_run_that_never_was_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        record_baseline(tmp_path / "nobody")


def test_a_difference_names_epoch_value_and_what_was_allowed(kept):
    other = with_curve(kept, lambda epoch, name, v: v + 0.1 * (epoch == 2 and name == "loss"))

    [difference] = compare(kept, other)

    assert (difference.epoch, difference.quantity) == (2, "loss")
    assert (difference.expected, difference.found) == (0.45, pytest.approx(0.55))
    assert difference.allowed == 0.0


@given(
    relative=st.floats(0.0, 0.5),
    absolute=st.floats(0.0, 0.5),
    size=st.floats(-2.0, 2.0),
)
def test_what_is_allowed_is_absolute_plus_a_share_of_the_baseline(relative, absolute, size):
    tolerance = Tolerance(relative=relative, absolute=absolute, reason="a test")
    kept = BASELINE.model_copy(update={"tolerance": tolerance})
    other = with_curve(kept, lambda _, name, value: value + size * (absolute + relative * value))

    differences = compare(kept, other)

    if abs(size) < 0.99:
        assert differences == ()
    if abs(size) > 1.01 and absolute + relative > 1e-6:
        assert len(differences) == 9


@pytest.mark.parametrize("shorter", ["baseline", "run"])
def test_an_epoch_that_only_one_of_them_has_is_a_difference(kept, shorter):
    cut = kept.model_copy(update={"curve": kept.curve[:2]})
    pair = (cut, kept) if shorter == "baseline" else (kept, cut)

    differences = compare(*pair)

    assert [(d.epoch, d.quantity) for d in differences] == [
        (3, "train_loss"), (3, "loss"), (3, "accuracy")
    ]  # fmt: skip
    missing = "expected" if shorter == "baseline" else "found"
    assert all(getattr(d, missing) is None for d in differences)


@pytest.mark.parametrize(
    "change",
    [
        {"spec_fingerprint": "b" * 64},
        {"architecture": Architecture(name="cnn", arguments={"hidden": 32})},
        {"dataset_fingerprint": "e" * 64},
        {"accelerator": "AMD-Instinct-MI300X-OAM"},
        {"num_workers": 1},
    ],
    ids=str,
)
def test_a_run_that_asked_something_else_is_not_compared(kept, change):
    with pytest.raises(ConflictError, match="cannot be compared") as caught:
        require_comparable(kept, kept.model_copy(update=change))

    assert next(iter(change)).replace("_", " ") in caught.value.why


def test_the_same_question_on_another_day_and_torch_is_compared(kept):
    require_comparable(kept, kept.model_copy(update={"torch": "2.14.0"}))


BASELINE = Baseline.model_validate(
    {
        "problem": "jobs.digits.problem",
        "spec_fingerprint": "a" * 64,
        "architecture": {"name": "cnn", "arguments": {"hidden": 64}},
        "dataset_fingerprint": "d" * 64,
        "accelerator": "cpu",
        "num_workers": 2,
        "torch": "2.13.0",
        "recorded_on": "2026-01-01",
        "curve": [
            {"epoch": epoch, "values": {"train_loss": 0.9, "loss": 0.8, "accuracy": 0.7}}
            for epoch in (1, 2, 3)
        ],
        "samples_per_s": 1.0,
        "tolerance": EXACT,
    }
)
