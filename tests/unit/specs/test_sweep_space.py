"""A sweep is one complete run plus paths into it; every point is a complete run again."""

import itertools

import pytest

from raymi.errors import SpecError
from raymi.specs.loading import parse_spec, resolved_yaml
from raymi.specs.sweep import SweepSpec
from raymi.specs.train import TrainSpec

SWEEP = """
kind: sweep
train:
  name: digits
  problem: jobs.digits.problem
  data: digits
  batch: {global_batch_size: 64, micro_batch_size: 16}
  resources: {num_workers: 2}
space:
  precision: [fp32, bf16]
  batch.micro_batch_size: [8, 16, 32]
"""


def parse(text: str = SWEEP) -> SweepSpec:
    spec = parse_spec(text, where="sweep.yaml")
    assert isinstance(spec, SweepSpec)
    return spec


def test_every_combination_is_one_trial_and_the_last_path_varies_fastest():
    points = [tuple(point.values()) for point in parse().combinations()]

    assert points == list(itertools.product(["fp32", "bf16"], [8, 16, 32]))


def test_a_trial_differs_from_the_reference_only_where_the_space_says():
    spec = parse()

    trial = spec.trial({"precision": "bf16", "batch.micro_batch_size": 8})

    expected = spec.train.to_document() | {
        "precision": "bf16",
        "batch": {"global_batch_size": 64, "micro_batch_size": 8},
    }
    assert trial.to_document() == expected


def test_a_trial_can_be_submitted_on_its_own():
    trial = next(parse().trials())

    again = parse_spec(resolved_yaml(trial), where="trial")

    assert isinstance(again, TrainSpec)
    assert again.fingerprint() == trial.fingerprint()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("precison", "did you mean 'precision'?"),
        ("batch.micro", "did you mean 'micro_batch_size'?"),
        ("epochs.many", "has no fields"),
    ],
)
def test_a_path_that_is_no_field_fails_when_the_file_is_read(path, why):
    with pytest.raises(SpecError) as caught:
        parse(f"{SWEEP}  {path}: [1]\n")

    assert why in caught.value.why


def test_a_combination_that_cannot_run_fails_when_the_file_is_read():
    with pytest.raises(SpecError) as caught:
        parse(SWEEP.replace("[8, 16, 32]", "[8, 24]"))

    assert "24 x 2 = 48" in caught.value.why


def test_a_value_of_the_wrong_type_fails_when_the_file_is_read():
    with pytest.raises(SpecError):
        parse(SWEEP.replace("[8, 16, 32]", "[8, many]"))


def test_a_path_without_values_is_refused():
    with pytest.raises(SpecError) as caught:
        parse(SWEEP.replace("[8, 16, 32]", "[]"))

    assert "no values" in caught.value.why


def test_any_field_can_be_swept():
    spec = parse(f"{SWEEP}  optimizer.learning_rate: [1e-3, 1e-2]\n  model.hidden: [[8], [16]]\n")

    assert len(list(spec.trials())) == 2 * 3 * 2 * 2


SPACE = "space:\n  precision: [fp32, bf16]\n  batch.micro_batch_size: [8, 16, 32]\n"


def sweep(space: str, *, optimizer: str = "adamw", **fields: str) -> SweepSpec:
    lines = "".join(f"{name}: {value}\n" for name, value in fields.items())
    run = SWEEP.replace(SPACE, "") + f"  optimizer: {{name: {optimizer}, learning_rate: 1e-2}}\n"
    return parse(f"{run}space: {space}\n{lines}")


def test_auto_tries_every_micro_batch_that_cuts_the_global_batch_evenly():
    spec = sweep("{batch.micro_batch_size: auto}")

    # Two workers share 64 samples.
    assert [t.batch.micro_batch_size for t in spec.trials()] == [1, 2, 4, 8, 16, 32]


def test_auto_follows_the_batch_and_the_workers_of_each_point():
    spec = sweep(
        "{batch.global_batch_size: [6, 24], resources.num_workers: [1, 2], "
        "batch.micro_batch_size: auto}",
        batch_mode="scaled",
    )

    sizes = {}
    for trial in spec.trials():
        key = (trial.batch.global_batch_size, trial.resources.num_workers)
        sizes.setdefault(key, []).append(trial.batch.micro_batch_size)
    assert sizes == {
        (6, 1): [1, 2, 3, 6],
        (6, 2): [1, 3],
        (24, 1): [1, 2, 3, 4, 6, 8, 12, 24],
        (24, 2): [1, 2, 3, 4, 6, 12],
    }


@pytest.mark.parametrize(
    ("optimizer", "rule", "expected"),
    [
        ("adamw", None, [1e-2, 2e-2]),
        ("sgd", None, [1e-2, 4e-2]),
        ("adamw", "linear", [1e-2, 4e-2]),
        ("sgd", "square_root", [1e-2, 2e-2]),
    ],
)
def test_a_scaled_sweep_moves_the_learning_rate_with_the_batch(optimizer, rule, expected):
    fields = {"batch_mode": "scaled"} | ({"learning_rate_rule": rule} if rule else {})
    spec = sweep("{batch.global_batch_size: [64, 256]}", optimizer=optimizer, **fields)

    assert [t.optimizer.learning_rate for t in spec.trials()] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("space", "fields", "why"),
    [
        ("{batch.global_batch_size: [64, 128]}", {}, "batch_mode: scaled"),
        ("{precision: [fp32]}", {"batch_mode": "scaled"}, "needs values in space.batch.global"),
        (
            "{batch.global_batch_size: [64, 128]}",
            {"batch_mode": "retuned"},
            "needs values in space.optimizer.learning_rate",
        ),
        (
            "{batch.global_batch_size: [64, 128], optimizer.learning_rate: [1e-3]}",
            {"batch_mode": "scaled"},
            "say `batch_mode: retuned`",
        ),
        ("{precision: [fp32]}", {"learning_rate_rule": "linear"}, "is for `batch_mode: scaled`"),
        ("{precision: auto}", {}, "`auto` is for batch.micro_batch_size"),
        ("{resources.num_workers: [1, {min: 1, max: 2}]}", {}, "fixed numbers of workers"),
    ],
)
def test_a_space_that_contradicts_itself_fails_when_the_file_is_read(space, fields, why):
    with pytest.raises(SpecError) as caught:
        sweep(space, **fields)

    assert why in caught.value.why
