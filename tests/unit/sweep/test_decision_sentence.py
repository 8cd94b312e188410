"""The sentence says what was shown, and no more."""

import subprocess
import sys

import pytest

from raymi.sweep.decision.decide import decide
from raymi.sweep.evidence import UNPAID

GOOD = {"fp32": 0.95, "bf16": 0.951}


def sentence(evidence):
    return decide(evidence).sentence


def stopped(evidence, limit="budget.accelerator_s"):
    spending = evidence.spending.model_copy(update={"stopped_by": limit})
    return evidence.model_copy(update={"spending": spending})


def test_a_confirmed_winner_has_every_number_behind_it(make_evidence):
    evidence = make_evidence(qualities=GOOD, confirmations={"fp32": 0.95, "bf16": 0.952})
    decision = decide(evidence)

    timing, test = decision.timings[3], decision.tests[1]
    assert decision.sentence == (
        "precision=bf16 micro_batch_size=32 wins: "
        f"samples_per_s {timing.samples_per_s:,.0f} (95% {timing.low:,.0f}-{timing.high:,.0f}), "
        f"{1 / decision.timings[1].of_best:.3g}x the speed of the reference, "
        "accuracy 0.9510 against 0.9500, not worse by more than 0.01 "
        f"(lower bound {test.lower_bound:+.4f}, 3 seeds x 4,000 rows), "
        "confirmed on 2 fresh seeds and 4,000 untouched rows"
    )


def test_a_winner_without_fresh_seeds_says_so(make_evidence):
    text = sentence(stopped(make_evidence(qualities=GOOD)))

    assert "not confirmed on fresh seeds" in text
    assert text.endswith("the sweep was cut short: budget.accelerator_s was used up")


def test_a_sweep_that_could_not_pay_for_its_next_run_says_so(make_evidence):
    text = sentence(stopped(make_evidence(qualities=GOOD), UNPAID))

    assert text.endswith("what was left of the budget did not pay for more")


def test_one_that_fresh_seeds_refuted_is_told_with_both_numbers(make_evidence):
    evidence = make_evidence(qualities=GOOD, confirmations={"fp32": 0.95, "bf16": 0.90})

    assert "bf16 was not confirmed: 0.9000 against 0.9500" in sentence(evidence)


def test_the_reference_can_win_and_then_nothing_is_claimed_about_others(make_evidence):
    text = sentence(make_evidence(qualities={"fp32": 0.95, "bf16": 0.90}))

    assert text.startswith("precision=fp32 micro_batch_size=32 wins: ")
    assert "which is the reference itself, accuracy 0.9500 over 3 seeds" in text
    assert "confirmed" not in text
    assert "bf16: worse than the reference by more than 0.01: 0.9000 against 0.9500" in text


def test_another_cut_of_the_reference_computes_the_same(make_evidence):
    evidence = make_evidence(
        space={"batch.micro_batch_size": [8, 32]},
        speeds={"micro_batch_size=8": 2000.0, "micro_batch_size=32": 1000.0},
        qualities={"fp32": 0.95},
        noise=0.0,
    )

    text = sentence(evidence)

    assert "2x the speed of the reference" in text
    assert "computing as the reference does (accuracy 0.9500 over 3 seeds)" in text


def test_if_nothing_was_trained_no_quality_is_claimed(make_evidence):
    text = sentence(make_evidence())

    assert "of which nothing was trained" in text
    assert "accuracy" not in text


def test_too_few_rows_are_told_with_how_many_are_needed(make_evidence):
    text = sentence(make_evidence(qualities=GOOD, num_rows=200))

    assert "bf16: a margin of 0.01 needs about" in text
    assert "there are 200" in text


def test_a_tie_names_the_others_the_noise_and_what_settled_it(make_evidence):
    speeds = {f"precision={p} micro_batch_size={m}": 1000.0 for p in ("fp32",) for m in (8, 32)}
    evidence = make_evidence(speeds=speeds)
    noise = decide(evidence).noise_floor

    assert (
        f"tie with precision=fp32 micro_batch_size=32 within the noise of {noise:.1%}, "
        "settled for what is smaller in its micro-batch"
    ) in sentence(evidence)


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ("money", "for a whole run, "),
        ("energy", "J for a whole run, "),
        ("peak_memory_gib", "0.29 GiB at its peak, 0.354x the memory of the reference"),
        ("cost_to_target", "accelerator-s to the target, "),
        ("quality", "wins: "),
    ],
)
def test_every_objective_has_its_words(make_evidence, objective, words):
    evidence = make_evidence(
        spec={"objective": objective}, qualities=GOOD, watts={"fp32": 100.0, "bf16": 100.0}
    )

    assert words in sentence(evidence)


def test_if_nobody_wins_it_says_what_stood_in_the_way(make_evidence):
    evidence = make_evidence(spec={"constraints": {"max_latency_ms": 0.1}}, refused={0: "no"})

    text = sentence(evidence)

    assert text.startswith(
        "nobody wins: of 4 settings 1 cannot run here, 3 break a constraint; "
        "the reference: one row takes"
    )


def test_every_setting_has_a_clause_of_its_own(make_evidence):
    for verdict in decide(make_evidence(qualities=GOOD)).verdicts:
        assert verdict.why
        assert "\n" not in verdict.why


def test_deciding_takes_neither_torch_nor_ray():
    code = (
        "import sys, raymi.sweep.receipt, raymi.sweep.decision.finalists; "
        "print([name for name in ('torch', 'ray') if name in sys.modules])"
    )

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert found.strip() == "[]"
