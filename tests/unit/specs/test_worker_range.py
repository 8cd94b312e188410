"""A number of workers is a count or a range, and a wrong one is explained as what was meant."""

import pytest

from raymi.errors import SpecError
from raymi.specs.loading import parse_spec

SPEC = """
kind: train
name: a
problem: a
data: a
batch: {global_batch_size: 64, micro_batch_size: 8}
"""


def resources(num_workers):
    override = f"resources.num_workers={num_workers}"
    return parse_spec(SPEC, where="spec.yaml", overrides=[override]).resources


@pytest.mark.parametrize(
    ("written", "smallest", "largest"), [("4", 4, 4), ("{min: 2, max: 8}", 2, 8)]
)
def test_a_count_is_a_range_of_one(written, smallest, largest):
    found = resources(written)

    assert (found.min_workers, found.max_workers) == (smallest, largest)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("{min: 3, max: 2}", "min 3 is more than max 2"),
        ("{min: 1}", "max: Field required"),
        ("{min: 1, max: 2, step: 1}", "step: Extra inputs"),
        ("0", "not 0"),
        ("two", "such as 8, or a range"),
        ("true", "not True"),
        ("1.5", "not 1.5"),
    ],
)
def test_a_wrong_number_of_workers_says_why(written, why):
    with pytest.raises(SpecError) as caught:
        resources(written)

    assert "resources.num_workers" in caught.value.what
    assert why in caught.value.why


def test_a_saved_range_is_read_back():
    found = resources("{min: 2, max: 8}")

    assert type(found).from_document(found.to_document()) == found
