"""A batch prediction names one place its rows come from, and a pool that can exist."""

import pytest

from raymi.errors import SpecError
from raymi.specs.loading import parse_spec

SPEC = """
kind: batch_predict
model: digits@champion
input: {dataset: digits, split: test}
output: digits
"""


def parse(*overrides):
    return parse_spec(SPEC, where="spec.yaml", overrides=overrides)


def test_little_must_be_said():
    spec = parse()

    assert (spec.keep, spec.probabilities, spec.max_batch_size) == ((), False, None)
    assert (spec.actors.min_size, spec.actors.max_size) == (1, None)


def test_files_can_stand_in_place_of_a_dataset():
    spec = parse("input={files: [a.csv, 'b/*.csv']}")

    assert spec.input.files == ("a.csv", "b/*.csv")


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("input={}", "`dataset` or `files`"),
        ("input={dataset: digits, files: [a.csv]}", "`dataset` or `files`"),
        ("input={files: [a.csv], split: test}", "belong to a dataset"),
        ("input={files: [a.txt], format: text}", "must be imported first"),
        ("model=digits", "pattern"),
        ("model=digits@3; rm", "pattern"),
        ("max_batch_size=0", "greater than 0"),
        ("rows_per_part=0", "greater than 0"),
        ("actors={min_size: 3, max_size: 2}", "max_size=2 is less than min_size=3"),
        ("actors={gpus_per_actor: 1.5}", "neither a share of one nor a whole number"),
        ("actors={cpus_per_actor: 0}", "greater than 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(override, why):
    with pytest.raises(SpecError) as caught:
        parse(override)

    assert why in caught.value.why
    assert caught.value.exit_code == 2


def test_a_field_that_does_not_exist_is_not_passed_over():
    with pytest.raises(SpecError, match="batch_size"):
        parse("batch_size=3")
