"""Other arithmetic passes if test rows show it to be as good, and fails for a reason it is told."""

from raymi.serve.tuning.gate import GateOutcome, judge
from raymi.specs.tune_serving import ServingGate
from tests.unit.serve.tuning.conftest import outputs

GATE = ServingGate(margin=0.02)


def verdict(evidence, third, gate=GATE, **changes):
    given = evidence(outputs=(outputs(0), outputs(1), third), **changes)
    return judge(given, gate)[2]


def test_answers_that_are_all_alike_pass(evidence):
    assert verdict(evidence, outputs(2)).outcome is GateOutcome.NOT_WORSE


def test_half_the_margin_lost_passes_with_enough_rows(evidence):
    found = verdict(
        evidence, outputs(2, num_rows=2000, flipped=20),
    )  # fmt: skip

    assert found.difference == -0.01
    assert found.outcome is GateOutcome.NOT_WORSE


def test_as_much_as_the_margin_lost_is_not_shown_to_be_within_it(evidence):
    found = verdict(evidence, outputs(2, flipped=40))

    assert found.difference == -0.02
    assert found.outcome is GateOutcome.NOT_SHOWN
    assert found.p_adjusted >= 0.5


def test_three_times_the_margin_lost_is_worse(evidence):
    assert verdict(evidence, outputs(2, flipped=120)).outcome is GateOutcome.WORSE


def test_few_rows_show_nothing_even_if_all_answers_are_alike(evidence):
    few = tuple(outputs(way, num_rows=100) for way in range(3))

    found = judge(evidence(outputs=few), GATE)[2]

    assert found.outcome is GateOutcome.TOO_FEW_ROWS
    assert "there are 100" in found.why


def test_the_same_arithmetic_elsewhere_needs_no_rows_but_the_same_answers(evidence):
    few = [outputs(way, num_rows=20) for way in range(3)]
    off = outputs(1, num_rows=20, difference=0.01)

    same = judge(evidence(outputs=tuple(few)), GATE)[1]
    different = judge(evidence(outputs=(few[0], off, few[2])), GATE)[1]

    assert same.outcome is GateOutcome.SAME
    assert different.outcome is GateOutcome.DIFFERENT


def test_without_test_rows_only_the_same_answers_pass(evidence):
    blind = tuple(
        outputs(way).model_copy(update={"scores": ()}) for way in range(3)
    )  # fmt: skip

    found = judge(
        evidence(outputs=blind, has_test_rows=False, dataset="no test rows of digits"), GATE
    )

    assert [one.outcome for one in found] == ["reference", "same", "not_judged"]
    assert "no test rows of digits" in found[2].why


def test_every_further_way_that_is_tested_makes_passing_harder(evidence):
    alone = verdict(evidence, outputs(2, flipped=20))
    ways = evidence().ways
    more = evidence(
        ways=(*ways, ways[2].model_copy(update={"precision": "bf16"})),
        outputs=(outputs(0), outputs(1), outputs(2, flipped=20), outputs(3, flipped=25)),
    )

    assert judge(more, GATE)[2].p_adjusted > alone.p_adjusted
