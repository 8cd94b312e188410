"""What a precision changes besides the average: found where it is, and seldom where it is not."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from raymi.evaluate.metrics import expected_calibration_error
from raymi.sweep.decision.case import Case
from raymi.sweep.decision.findings import list_findings
from raymi.sweep.evidence import RowScores

EQUAL = {"fp32": 0.9, "bf16": 0.9}


def findings(evidence):
    return {one.what.partition(":")[0]: one for one in list_findings(Case(evidence))}


def with_scores(evidence, change):
    """The same with the scores of bf16 replaced by `change(scores, rows' group)`."""
    group = np.array(evidence.slices.validation)
    runs = tuple(
        run.model_copy(update={"validation": change(run.validation, group)})
        if run.numerics == "bf16"
        else run
        for run in evidence.runs
    )
    return evidence.model_copy(update={"runs": runs})


def test_the_calibration_error_is_the_one_that_evaluations_report(make_evidence):
    evidence = make_evidence(qualities=EQUAL, num_rows=500)
    runs = [run for run in evidence.runs if run.numerics == "fp32"]

    expected = []
    for run in runs:
        confidence = np.array(run.validation.confidence)
        right = np.array(run.validation.score)
        # Two classes of which the first is predicted: it has the higher probability.
        probabilities = np.stack([confidence, np.minimum(1 - confidence, 0.25)], axis=1)
        expected.append(expected_calibration_error(probabilities, np.where(right == 1.0, 0, 1)))

    assert findings(evidence)["ece"].reference == pytest.approx(np.mean(expected))


def test_the_brier_score_is_a_mean_over_rows_and_seeds(make_evidence):
    evidence = make_evidence(qualities=EQUAL, num_rows=300)
    rng = np.random.default_rng(0)
    chance, truth = rng.random(300), rng.integers(0, 2, 300)
    # Over both classes, the score is twice that of the positive one.
    rows = tuple((2 * (chance - truth) ** 2).tolist())

    changed = with_scores(evidence, lambda scores, group: scores.model_copy(update={"brier": rows}))

    assert findings(changed)["brier"].candidate == pytest.approx(
        2 * brier_score_loss(truth, chance)
    )


def test_overconfidence_at_equal_accuracy_is_notable(make_evidence):
    evidence = make_evidence(qualities=EQUAL, overconfidence={"bf16": 0.08})

    ece = findings(evidence)["ece"]

    assert ece.is_notable
    assert ece.low > 0.0
    assert ece.candidate > ece.reference


def test_a_group_that_loses_more_than_the_average_is_notable(make_evidence):
    evidence = make_evidence(qualities=EQUAL)

    def spoil(scores, group):
        score = np.array(scores.score)
        hit = np.flatnonzero((group == 2) & (score == 1.0))[::8]
        score[hit] = 0.0
        return scores.model_copy(update={"score": tuple(score.tolist())})

    worst = findings(with_scores(evidence, spoil))["worst slice"]

    assert worst.what == "worst slice: class 2"
    assert worst.is_notable
    # About 900 of its 1000 rows were right, and every eighth of them was spoilt.
    assert worst.difference == pytest.approx(-0.11, abs=0.02)


@pytest.mark.parametrize("metric", ["rmse", "loss"])
def test_a_group_whose_errors_grow_more_than_the_average_is_notable(make_evidence, metric):
    evidence = make_evidence(metric=metric, qualities=EQUAL)

    def spoil(scores, group):
        score = np.array(scores.score) * np.where(group == 1, 1.2, 1.0)
        return scores.model_copy(update={"score": tuple(score.tolist())})

    found = findings(with_scores(evidence, spoil))
    worst = found["worst slice"]

    assert set(found) == {"worst slice"}
    assert (worst.what, worst.is_notable) == ("worst slice: class 1", True)
    # A fifth more squared error is a tenth more rmse.
    growth = 0.2 if metric == "loss" else 1.2**0.5 - 1
    assert worst.difference == pytest.approx(-growth, abs=0.05)


def test_a_group_that_loses_as_much_as_all_others_is_not(make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.9, "bf16": 0.85})

    assert not findings(evidence)["worst slice"].is_notable


def test_groups_of_few_rows_are_not_looked_at(make_evidence):
    evidence = make_evidence(qualities=EQUAL)
    rare = tuple(3 if row < 29 else row % 3 for row in range(4000))
    slices = evidence.slices.model_copy(update={"validation": rare})
    evidence = evidence.model_copy(update={"slices": slices})

    def spoil(scores, group):
        score = np.where(group == 3, 0.0, scores.score)
        return scores.model_copy(update={"score": tuple(score.tolist())})

    assert findings(with_scores(evidence, spoil))["worst slice"].what != "worst slice: class 3"


def test_without_confidences_or_groups_nothing_is_said(make_evidence):
    evidence = make_evidence(qualities=EQUAL)
    slices = evidence.slices.model_copy(update={"names": (), "validation": ()})

    bare = with_scores(evidence, lambda scores, group: RowScores(score=scores.score))

    assert findings(bare.model_copy(update={"slices": slices})) == {}


@pytest.mark.parametrize("what", ["ece", "brier", "worst slice"])
def test_equals_are_found_to_differ_seldom(make_evidence, what):
    """Seeds vary, too: models of one setting are not equally good everywhere."""
    base = make_evidence(qualities=EQUAL, num_rows=800)

    notable = [findings(drawn_alike(base, seed))[what].is_notable for seed in range(200)]

    # Three standard errors of a share of 5% in 200 experiments.
    assert np.mean(notable) <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def drawn_alike(evidence, seed):
    """Both sides from one distribution: a seed shifts confidence, and how good each group is."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 4, 800)
    ease = rng.normal(1.5, 1.0, 800)

    def scores():
        logit = ease + rng.normal(0.0, 0.3, 4)[group] + rng.normal(0.0, 0.5, 800)
        right = (rng.random(800) < 1 / (1 + np.exp(-logit))).astype(float)
        sure = 1 / (1 + np.exp(-np.abs(logit) * rng.normal(1.2, 0.1)))
        return RowScores(
            score=tuple(right), confidence=tuple(sure), brier=tuple(2 * (sure - right) ** 2)
        )

    runs = tuple(run.model_copy(update={"validation": scores()}) for run in evidence.runs)
    slices = evidence.slices.model_copy(update={"validation": tuple(group.tolist())})
    return evidence.model_copy(update={"runs": runs, "slices": slices})
