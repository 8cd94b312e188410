"""The winner is the best trial that meets every constraint; near-ties go to the safer setting."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.data.preprocessing import ClassTarget, Preprocessing
from raymi.models.architecture import Architecture
from raymi.specs.precision import SAFEST_FIRST, Precision
from raymi.specs.sweep import ConstraintSpec, Objective
from raymi.sweep.decision import Decision, decide
from raymi.sweep.trial import Status, Trial
from raymi.train.result import Provenance, TrainResult

NOWHERE = Provenance(
    git_commit=None,
    code_package=None,
    environment={},
    hardware={},
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def result(*, quality: float, speed: float, memory: float, metric: str) -> TrainResult:
    return TrainResult(
        run_id="r",
        run_dir="/r",
        spec={},
        spec_fingerprint="0",
        dataset={},
        problem="p",
        architecture=Architecture(name="mlp"),
        preprocessing=Preprocessing(features=(), target=ClassTarget(column="y", classes=(0, 1))),
        metrics={metric: quality, "loss": 0.1},
        primary_metric=metric,
        samples_per_s=speed,
        peak_memory_gib=memory,
        duration_s=1.0,
        attempts=1,
        provenance=NOWHERE,
    )


def trial(
    index: int,
    *,
    speed: float = 100.0,
    quality: float = 0.9,
    memory: float = 1.0,
    precision: Precision = Precision.FP32,
    micro: int = 8,
    metric: str = "accuracy",
) -> Trial:
    return Trial(
        index=index,
        point={"precision": precision.value, "batch.micro_batch_size": micro},
        run_id=f"r-{index}",
        precision=precision,
        micro_batch_size=micro,
        status=Status.SUCCEEDED,
        result=result(quality=quality, speed=speed, memory=memory, metric=metric),
    )


def failed(index: int, reason: str) -> Trial:
    return trial(index).model_copy(
        update={"status": Status.FAILED, "reason": reason, "result": None}
    )


def judge(
    trials: list[Trial], *, objective: Objective = Objective.SAMPLES_PER_S, **constraints: float
) -> Decision:
    return decide(
        trials, objective=objective, constraints=ConstraintSpec(**constraints), tie_within=0.02
    )


def test_the_fastest_wins():
    decision = judge([trial(0, speed=100), trial(1, speed=200, micro=16)])

    assert decision.winner == 1
    assert "micro_batch_size=16 wins" in decision.sentence


def test_speed_does_not_buy_quality():
    decision = judge([trial(0, quality=0.95), trial(1, quality=0.90, speed=900)])

    assert decision.winner == 0
    assert "too far from the best" in decision.verdicts[1].why


def test_a_tie_goes_to_the_safer_precision():
    decision = judge([trial(0, speed=101, precision=Precision.BF16), trial(1, speed=100)])

    assert decision.winner == 1
    assert "safer" in decision.sentence


def test_a_failed_trial_is_a_row_with_its_reason():
    decision = judge([failed(0, "out_of_memory"), trial(1)])

    assert decision.winner == 1
    assert decision.verdicts[0].why == "out_of_memory"


def test_nobody_wins_when_nobody_meets_the_constraints():
    decision = judge([trial(0, quality=0.5), failed(1, "diverged")], min_quality=0.8)

    assert decision.winner is None
    assert not any(verdict.is_feasible for verdict in decision.verdicts)


def test_memory_can_be_bounded():
    trials = [trial(0, memory=9.0, speed=900), trial(1, memory=1.0)]

    assert judge(trials, max_peak_memory_gib=4.0).winner == 1


def test_an_error_is_better_when_it_is_smaller():
    trials = [trial(0, quality=5.0, metric="rmse"), trial(1, quality=4.0, metric="rmse")]

    assert judge(trials, objective=Objective.QUALITY).winner == 1


def test_an_error_is_compared_relatively():
    trials = [
        trial(0, quality=100.0, metric="rmse"),
        trial(1, quality=100.5, metric="rmse", speed=900),
        trial(2, quality=110.0, metric="rmse", speed=1900),
    ]

    assert judge(trials, max_quality_loss=0.01).winner == 1


def test_the_smallest_memory_wins_when_that_is_the_objective():
    trials = [trial(0, memory=2.0), trial(1, memory=1.0)]

    assert judge(trials, objective=Objective.PEAK_MEMORY_GIB).winner == 1


@given(
    st.lists(
        st.tuples(st.floats(1, 1e6), st.floats(0.5, 1), st.sampled_from(SAFEST_FIRST)),
        min_size=1,
        max_size=8,
    )
)
def test_no_feasible_trial_beats_the_winner_by_more_than_a_tie(rows):
    trials = [
        trial(index, speed=speed, quality=quality, precision=precision)
        for index, (speed, quality, precision) in enumerate(rows)
    ]

    decision = judge(trials, max_quality_loss=0.1)

    feasible = [t for t, v in zip(trials, decision.verdicts, strict=True) if v.is_feasible]
    speeds = {t.index: t.result.samples_per_s for t in feasible}
    assert speeds[decision.winner] >= 0.98 * max(speeds.values()) - 1e-6


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_the_decision_does_not_depend_on_which_trial_ended_first(order):
    trials = [trial(0, speed=50), trial(1, speed=70, micro=16), trial(2, speed=60)]

    assert judge([trials[i] for i in order]).winner == 1
