"""Only what could win is trained, the most promising first, in the cut that would win."""

import pytest

from raymi.sweep.decision.contest import enter
from raymi.sweep.decision.finalists import assess, choose_finalists, setting_to_train
from raymi.sweep.evidence import RunStatus

PRECISIONS = {"precision": ["fp32", "bf16", "fp16", "tf32"]}


def speeds(**by_precision):
    given = {f"precision={name}": speed for name, speed in by_precision.items()}
    return given | {"reference": 1000.0}


def why_not(evidence, numerics):
    return assess(enter(evidence)).hopeless[numerics]


def test_the_fastest_come_first_and_the_slower_do_not_come(make_evidence):
    fast = speeds(fp32=1000, bf16=1500, fp16=1800, tf32=700)
    evidence = make_evidence(space=PRECISIONS, speeds=fast)

    assert choose_finalists(evidence, limit=9) == ("fp16", "bf16")
    assert choose_finalists(evidence, limit=1) == ("fp16",)
    assert why_not(evidence, "tf32").startswith("cannot win: at best 0.7")


def test_what_is_as_fast_as_the_reference_cannot_win(make_evidence):
    equal = speeds(fp32=1000, bf16=1000, fp16=1800, tf32=1000)
    evidence = make_evidence(space=PRECISIONS, speeds=equal)

    assert choose_finalists(evidence, limit=9) == ("fp16",)
    assert "within the noise" in why_not(evidence, "bf16")


def test_the_bar_is_the_best_cut_of_the_reference_not_the_reference(make_evidence):
    evidence = make_evidence(
        speeds={
            "precision=fp32 micro_batch_size=8": 2000.0,
            "precision=fp32 micro_batch_size=32": 1000.0,
            "precision=bf16 micro_batch_size=8": 1500.0,
            "precision=bf16 micro_batch_size=32": 1500.0,
        }
    )

    assert choose_finalists(evidence, limit=9) == ()


def test_a_cut_that_breaks_a_limit_makes_nobody_hopeful(make_evidence):
    """bf16 is fast with 32 rows at a time only, and that takes too much memory."""
    evidence = make_evidence(
        spec={"constraints": {"max_peak_memory_gib": 0.4}},
        speeds={
            "precision=fp32 micro_batch_size=8": 1000.0,
            "precision=bf16 micro_batch_size=8": 900.0,
            "precision=bf16 micro_batch_size=32": 2000.0,
        },
    )
    points = tuple(
        point.model_copy(update={"peak_gib": 0.5 if point.setting == 3 else 0.3})
        for point in evidence.probe.memory
    )
    probe = evidence.probe.model_copy(update={"memory": points})

    assert choose_finalists(evidence.model_copy(update={"probe": probe}), limit=9) == ()


def test_if_the_reference_cannot_run_everybody_is_hopeful(make_evidence):
    slow = speeds(fp32=1000, bf16=900, fp16=800, tf32=700)
    evidence = make_evidence(space=PRECISIONS, speeds=slow, refused={0: "no fp32 here"})

    assert choose_finalists(evidence, limit=9) == ("bf16", "fp16", "tf32")


@pytest.mark.parametrize("objective", ["samples_per_s", "money", "quality", "cost_to_target"])
def test_nobody_is_trained_whose_margin_the_rows_cannot_show(make_evidence, objective):
    evidence = make_evidence(spec={"objective": objective}, num_rows=200)

    assert choose_finalists(evidence, limit=9) == ()


def test_errors_are_judged_once_there_are_some(make_evidence):
    assert choose_finalists(make_evidence(metric="rmse", num_rows=200), limit=9) == ("bf16",)


def test_for_energy_the_thrifty_come_first(make_evidence):
    evidence = make_evidence(
        space=PRECISIONS,
        spec={"objective": "energy"},
        speeds=speeds(fp32=1000, bf16=1000, fp16=1000, tf32=1000),
        watts={"fp32": 300.0, "bf16": 200.0, "fp16": 150.0, "tf32": 400.0},
    )

    assert choose_finalists(evidence, limit=9) == ("fp16", "bf16")


def test_for_memory_the_small_come_first(make_evidence):
    evidence = make_evidence(spec={"objective": "peak_memory_gib"}, space=PRECISIONS)

    # tf32 takes what fp32 takes.
    assert set(choose_finalists(evidence, limit=9)) == {"bf16", "fp16"}


RATES = {"optimizer.learning_rate": [1e-3, 2e-3, 4e-3, 8e-3]}
OTHERS = [f"fp32 learning_rate={rate}" for rate in (0.002, 0.004, 0.008)]
BY_QUALITY = {"objective": "quality"}


def test_for_quality_everybody_could_win(make_evidence):
    evidence = make_evidence(space=RATES, spec=BY_QUALITY)

    assert set(choose_finalists(evidence, limit=9)) == set(OTHERS)


def test_for_quality_the_first_runs_give_the_order(make_evidence):
    first = dict(zip(OTHERS, ([0.91], [0.95], [0.93]), strict=True))
    evidence = make_evidence(space=RATES, spec=BY_QUALITY, qualities=first)

    assert choose_finalists(evidence, limit=2) == (OTHERS[1], OTHERS[2])


def test_less_error_comes_first(make_evidence):
    first = dict(zip(OTHERS, ([0.91], [0.95], [0.93]), strict=True))
    evidence = make_evidence(metric="rmse", space=RATES, spec=BY_QUALITY, qualities=first)

    assert choose_finalists(evidence, limit=2) == (OTHERS[0], OTHERS[2])


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.STOPPED])
def test_who_diverged_or_was_stopped_early_is_not_trained_on(make_evidence, status):
    first = dict(zip(OTHERS, ([0.91], [None], [0.93]), strict=True))
    evidence = make_evidence(space=RATES, spec=BY_QUALITY, qualities=first)
    reason = "diverged" if status is RunStatus.FAILED else "stopped_early"
    runs = tuple(
        run.model_copy(update={"status": status, "reason": reason}) if run.reason else run
        for run in evidence.runs
    )

    finalists = choose_finalists(evidence.model_copy(update={"runs": runs}), limit=9)

    assert finalists == (OTHERS[2], OTHERS[0])


BATCHES = {"batch.global_batch_size": [64, 256, 1024]}
TO_TARGET = {"objective": "cost_to_target", "batch_mode": "scaled"}


def test_before_any_run_a_larger_batch_needs_at_least_as_many_samples(make_evidence):
    fast = {"global_batch_size=64": 1000.0, "global_batch_size=256": 900.0,
            "global_batch_size=1024": 3000.0}  # fmt: skip
    evidence = make_evidence(space=BATCHES, spec=TO_TARGET, speeds=fast)

    assert choose_finalists(evidence, limit=9) == ("fp32 global_batch_size=1024",)


def test_before_any_run_a_smaller_batch_may_need_fewer_samples(make_evidence):
    space = {"batch.global_batch_size": [32, 64]}
    slower = {"global_batch_size=32": 700.0, "global_batch_size=64": 1000.0}
    much_slower = slower | {"global_batch_size=32": 400.0}

    hopeful = make_evidence(space=space, spec=TO_TARGET, speeds=slower)
    hopeless = make_evidence(space=space, spec=TO_TARGET, speeds=much_slower)

    # At most half the samples for the same number of steps.
    assert choose_finalists(hopeful, limit=9) == ("fp32 global_batch_size=32",)
    assert choose_finalists(hopeless, limit=9) == ()


def test_the_noise_scale_of_the_reference_says_which_batch_could_win(make_evidence):
    """Three times the speed is not enough for 16 times the batch above the critical one."""
    fast = {"global_batch_size=64": 1000.0, "global_batch_size=256": 2500.0,
            "global_batch_size=1024": 3000.0}  # fmt: skip
    evidence = make_evidence(
        space=BATCHES, spec=TO_TARGET, speeds=fast, critical_batch_size=200.0,
        qualities={"fp32 global_batch_size=64": 0.9},
    )  # fmt: skip

    # Samples grow by (B + 200) / 264: 1.73 and 4.64 times.
    assert choose_finalists(evidence, limit=9) == ("fp32 global_batch_size=256",)
    assert "if it learns as well" in why_not(evidence, "fp32 global_batch_size=1024")


def test_another_learning_rate_may_learn_faster_however_slow_it_steps(make_evidence):
    space = {"optimizer.learning_rate": [1e-3, 1e-2]}
    slow = {"learning_rate=0.01": 500.0, "learning_rate=0.001": 1000.0}
    evidence = make_evidence(space=space, spec={"objective": "cost_to_target"}, speeds=slow)

    assert choose_finalists(evidence, limit=9) == ("fp32 learning_rate=0.01",)


def test_who_did_not_reach_the_target_cannot_win(make_evidence):
    evidence = make_evidence(
        spec={"objective": "cost_to_target"}, qualities={"fp32": 0.95, "bf16": [0.8]}
    )

    assert choose_finalists(evidence, limit=9) == ()
    assert why_not(evidence, "bf16") == "cannot win: it did not reach the target"


def test_a_way_to_compute_is_trained_in_its_fastest_cut(make_evidence):
    evidence = make_evidence()

    labels = [evidence.settings[setting_to_train(evidence, n)].label for n in ("fp32", "bf16")]

    assert labels == ["precision=fp32 micro_batch_size=32", "precision=bf16 micro_batch_size=32"]


def test_it_is_trained_in_the_cut_that_would_be_named_the_winner(make_evidence):
    """Equally fast: the smaller micro-batch. So the winner's own run is there already."""
    space = {"batch.micro_batch_size": [8, 16, 32]}
    equal = {f"micro_batch_size={size}": 1000.0 for size in (8, 16, 32)}
    evidence = make_evidence(space=space, speeds=equal)

    assert evidence.settings[setting_to_train(evidence, "fp32")].micro_batch_size == 8


def test_without_any_timing_the_reference_is_trained_as_it_was_asked(make_evidence):
    evidence = make_evidence(rounds=0)

    assert setting_to_train(evidence, "fp32") == evidence.reference
    assert evidence.settings[setting_to_train(evidence, "bf16")].micro_batch_size == 8


def test_what_nobody_computes_cannot_be_trained(make_evidence):
    with pytest.raises(ValueError, match="no setting computes fp8"):
        setting_to_train(make_evidence(), "fp8")
