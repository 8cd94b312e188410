"""The winner meets the reference once more; if fresh seeds refute it, the next one is named."""

import pytest

from raymi.sweep.decision.decide import decide, next_to_confirm, provisional_winner
from raymi.sweep.evidence import RunStatus
from raymi.sweep.verdicts import Standing

SPACE = {"precision": ["fp32", "bf16", "fp16"]}
GOOD = {"fp32": 0.95, "bf16": 0.95, "fp16": 0.95}
FASTEST, NEXT, SAFEST = "precision=fp16", "precision=bf16", "precision=fp32"
SPEEDS = {FASTEST: 1900.0, NEXT: 1500.0, SAFEST: 1000.0, "reference": 1000.0}


@pytest.fixture
def sweep(make_evidence):
    def build(confirmations=None, **knobs):
        knobs = {"space": SPACE, "speeds": SPEEDS, "qualities": GOOD} | knobs
        return make_evidence(confirmations=confirmations, **knobs)

    return build


def winner(evidence):
    return evidence.settings[decide(evidence).winner].label


def test_a_winner_that_is_as_good_again_is_confirmed(sweep):
    evidence = sweep({"fp32": 0.94, "fp16": 0.935})

    [confirmation] = decide(evidence).confirmations

    assert winner(evidence) == FASTEST
    assert confirmation.is_confirmed
    assert confirmation.difference == pytest.approx(-0.005)
    assert (confirmation.num_seeds, confirmation.num_rows) == (2, 4000)
    assert next_to_confirm(evidence) is None


def test_one_that_is_worse_by_the_margin_on_fresh_seeds_makes_room(sweep):
    evidence = sweep({"fp32": 0.95, "fp16": 0.93})

    verdicts = {v.setting: v for v in decide(evidence).verdicts}

    assert winner(evidence) == NEXT
    assert verdicts[2].standing is Standing.REJECTED
    assert verdicts[2].why.startswith("not confirmed on fresh seeds: 0.9300 against 0.9500")
    assert next_to_confirm(evidence) == "bf16"


def test_several_may_be_refuted_until_the_reference_is_left(sweep):
    evidence = sweep({"fp32": 0.95, "fp16": 0.93, "bf16": 0.93})

    decision = decide(evidence)

    assert winner(evidence) == SAFEST
    assert [(one.numerics, one.is_confirmed) for one in decision.confirmations] == [
        ("fp16", False),
        ("bf16", False),
    ]
    assert next_to_confirm(evidence) is None


def test_confirmation_may_show_less_than_the_test_did(sweep):
    """The estimate alone decides: three points of noise on 200 rows would show nothing."""
    evidence = sweep({"fp32": [0.95], "fp16": [0.945]}, num_test_rows=200)

    [confirmation] = decide(evidence).confirmations

    assert confirmation.is_confirmed
    assert confirmation.lower_bound < -0.01


def test_a_winner_that_computes_as_the_reference_needs_no_confirmation(sweep):
    evidence = sweep(qualities={"fp32": 0.95, "bf16": 0.90, "fp16": 0.90})

    assert winner(evidence) == SAFEST
    assert decide(evidence).confirmations == ()
    assert next_to_confirm(evidence) is None


def test_without_fresh_runs_the_winner_is_named_all_the_same(sweep):
    evidence = sweep()

    assert winner(evidence) == FASTEST
    assert provisional_winner(evidence) == decide(evidence).winner
    assert decide(evidence).confirmations == ()
    assert next_to_confirm(evidence) == "fp16"


def test_one_of_two_fresh_pairs_leaves_something_to_do(sweep):
    evidence = sweep({"fp32": 0.95, "fp16": [0.95]})

    assert decide(evidence).confirmations[0].is_confirmed
    assert next_to_confirm(evidence) == "fp16"


def test_one_that_diverges_with_a_fresh_seed_is_refuted(sweep):
    evidence = sweep({"fp32": 0.95, "fp16": [0.95, None]})

    assert winner(evidence) == NEXT
    assert "diverged (seed 1001)" in decide(evidence).confirmations[0].why


def test_a_full_disk_refutes_nothing(sweep):
    evidence = sweep({"fp32": 0.95, "fp16": [0.95, None]})
    runs = tuple(
        run.model_copy(update={"reason": "disk_full"}) if run.reason else run
        for run in evidence.runs
    )

    assert winner(evidence.model_copy(update={"runs": runs})) == FASTEST


def test_a_run_that_the_budget_stopped_refutes_nothing(sweep):
    evidence = sweep({"fp32": 0.95, "fp16": [None, None]})
    runs = tuple(
        run.model_copy(update={"status": RunStatus.STOPPED, "reason": "out_of_budget"})
        if run.reason
        else run
        for run in evidence.runs
    )
    evidence = evidence.model_copy(update={"runs": runs})

    assert winner(evidence) == FASTEST
    assert next_to_confirm(evidence) == "fp16"


def test_without_test_rows_there_is_nothing_to_confirm_on(sweep):
    evidence = sweep(dataset={"num_rows": {"validation": 4000, "test": 0}})

    assert next_to_confirm(evidence) is None


def test_who_was_refuted_does_not_come_back_as_a_tie(sweep):
    speeds = dict.fromkeys(SPEEDS, 1000.0) | {FASTEST: 1500.0, NEXT: 1500.0}
    evidence = sweep({"fp32": 0.95, "bf16": 0.90}, speeds=speeds)

    decision = decide(evidence)

    assert winner(evidence) == FASTEST
    assert decision.ties == ()
