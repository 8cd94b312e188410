"""Who is as good as the reference: shown, refused for a reason, or not tested."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.sweep.decision.decide import decide
from raymi.sweep.evidence import RunStatus
from raymi.sweep.verdicts import Outcome, Standing


def bf16(evidence):
    return next(test for test in decide(evidence).tests if test.numerics == "bf16")


def test_the_reference_is_not_compared_with_itself(make_evidence):
    test = decide(make_evidence(qualities={"fp32": [0.93, 0.95]})).tests[0]

    assert (test.outcome, test.quality) == (Outcome.REFERENCE, pytest.approx(0.94))


@pytest.mark.parametrize("metric", ["accuracy", "rmse", "loss"])
def test_one_that_is_exactly_as_good_passes(make_evidence, metric):
    qualities = {"fp32": 0.9, "bf16": 0.9}

    test = bf16(make_evidence(metric=metric, qualities=qualities, num_rows=8000))

    assert test.outcome is Outcome.NOT_WORSE
    assert test.lower_bound > -0.01
    assert (test.num_seeds, test.num_rows) == (3, 8000)


@pytest.mark.parametrize(
    ("metric", "reference", "candidate"),
    [("accuracy", 0.98, 0.90), ("rmse", 0.9, 0.98), ("loss", 0.9, 0.98)],
)
def test_one_that_is_clearly_worse_never_passes(make_evidence, metric, reference, candidate):
    evidence = make_evidence(metric=metric, qualities={"fp32": reference, "bf16": candidate})

    assert bf16(evidence).outcome is Outcome.WORSE
    winner = evidence.settings[decide(evidence).winner]
    assert winner.numerics == "fp32"


@pytest.mark.parametrize(
    ("metric", "reference", "candidate"),
    [("accuracy", 0.95, 0.941), ("rmse", 0.9, 0.9088), ("loss", 0.9, 0.9088)],
)
def test_one_that_may_be_worse_by_the_margin_is_not_shown(
    make_evidence, metric, reference, candidate
):
    qualities = {"fp32": reference, "bf16": candidate}
    evidence = make_evidence(metric=metric, qualities=qualities, num_rows=8000)

    assert bf16(evidence).outcome is Outcome.NOT_SHOWN
    assert decide(evidence).verdicts[3].standing is Standing.REJECTED


@given(
    reference=st.integers(100, 200),
    candidate=st.integers(100, 200),
    churn=st.floats(0.0, 0.5),
    seed=st.integers(0, 100),
)
def test_two_hundred_rows_pass_nobody_at_one_point_whatever_they_say(
    make_evidence, reference, candidate, churn, seed
):
    qualities = {"fp32": reference / 200, "bf16": candidate / 200}

    evidence = make_evidence(qualities=qualities, num_rows=200, churn=churn, seed=seed)

    assert bf16(evidence).outcome in (Outcome.TOO_FEW_ROWS, Outcome.TOO_FEW_SEEDS, Outcome.WORSE)


def test_too_few_rows_say_how_many_would_do(make_evidence):
    test = bf16(make_evidence(qualities={"fp32": 0.95, "bf16": 0.95}, num_rows=200))

    assert test.outcome is Outcome.TOO_FEW_ROWS
    assert f"about {test.rows_needed:,} evaluation rows, there are 200" in test.why
    assert test.rows_needed > 430


def test_too_few_rows_are_known_before_anything_is_trained(make_evidence):
    test = bf16(make_evidence(num_rows=200))

    assert test.outcome is Outcome.TOO_FEW_ROWS
    assert "refused before training" in test.why


def test_one_pair_of_seeds_shows_nothing(make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.95, "bf16": [0.95]})

    assert bf16(evidence).outcome is Outcome.TOO_FEW_SEEDS
    assert decide(evidence).verdicts[3].standing is Standing.UNKNOWN


def test_only_seeds_that_both_finished_are_compared(make_evidence):
    evidence = make_evidence(qualities={"fp32": [0.95] * 4, "bf16": [0.95] * 3})

    assert bf16(evidence).num_seeds == 3


def test_a_seed_that_diverged_fails_whatever_the_others_did(make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.95, "bf16": [0.99, None, 0.99]})

    test = bf16(evidence)

    assert (test.outcome, test.why) == (
        Outcome.FAILED,
        "did not train to the end: diverged (seed 1)",
    )


def test_a_metric_that_is_no_number_is_a_failure(make_evidence):
    evidence = make_evidence(metric="rmse", qualities={"fp32": 0.9, "bf16": [0.9, 0.9, 1.0]})
    runs = tuple(
        run.model_copy(update={"metric": float("nan")}) if run.metric == 1.0 else run
        for run in evidence.runs
    )

    assert bf16(evidence.model_copy(update={"runs": runs})).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("reason", "why"), [("stopped_early", "others were ahead"), ("out_of_budget", "budget.money")]
)
def test_a_run_that_was_stopped_has_not_failed(make_evidence, reason, why):
    evidence = make_evidence(qualities={"fp32": 0.95, "bf16": [None]})
    runs = tuple(
        run.model_copy(update={"status": RunStatus.STOPPED, "reason": reason})
        if run.numerics == "bf16"
        else run
        for run in evidence.runs
    )
    spending = evidence.spending.model_copy(update={"stopped_by": "budget.money"})

    test = bf16(evidence.model_copy(update={"runs": runs, "spending": spending}))

    assert test.outcome is Outcome.NOT_TESTED
    assert why in test.why


def test_what_cannot_win_is_not_tested_and_says_why(make_evidence):
    slow = {f"precision=bf16 micro_batch_size={size}": 500.0 for size in (8, 32)}
    evidence = make_evidence(speeds=slow, qualities={"fp32": 0.95})

    test = bf16(evidence)

    assert test.outcome is Outcome.NOT_TESTED
    assert test.why.startswith("cannot win: at best 0.5")
    assert decide(evidence).verdicts[3].standing is Standing.BEATEN


def test_a_reference_that_diverged_lets_nobody_win(make_evidence):
    evidence = make_evidence(qualities={"fp32": [None, None], "bf16": 0.9})

    decision = decide(evidence)

    assert decision.tests[0].outcome is Outcome.FAILED
    assert decision.winner is None


def test_two_candidates_are_corrected_for_being_two(make_evidence):
    space = {"precision": ["fp32", "bf16", "fp16"]}
    evidence = make_evidence(
        space=space, qualities={"fp32": 0.95, "bf16": 0.9455, "fp16": 0.9455}, churn=0.05
    )

    tests = {test.numerics: test for test in decide(evidence).tests}

    p_values = sorted(tests[name].p_value for name in ("bf16", "fp16"))
    adjusted = sorted(tests[name].p_adjusted for name in ("bf16", "fp16"))
    # Holm by hand: twice the smaller one, then the larger one if it is no smaller than that.
    assert adjusted[0] == pytest.approx(min(1.0, 2 * p_values[0]))
    assert adjusted[1] == pytest.approx(max(adjusted[0], p_values[1]))


def test_settings_that_compute_alike_share_one_test(make_evidence):
    decision = decide(make_evidence(qualities={"fp32": 0.95, "bf16": 0.90}))

    assert len(decision.tests) == 2
    assert {decision.verdicts[i].standing for i in (2, 3)} == {Standing.REJECTED}


def test_finalists_that_were_not_compared_count_in_the_correction(make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.9, "bf16": 0.9}, num_rows=8000)
    named = evidence.model_copy(update={"finalists": ("bf16", "fp16", "bf16_pure")})

    alone, among_three = bf16(evidence).p_adjusted, bf16(named).p_adjusted

    assert among_three == pytest.approx(min(1.0, 3 * alone))
