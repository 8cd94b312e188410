"""Who wins: the best that may, and among equals the safer, the smaller, the cheaper."""

import pytest

from raymi.sweep.decision.decide import decide, provisional_winner
from raymi.sweep.evidence import Glance, MemoryPoint
from raymi.sweep.verdicts import Standing

GOOD = {"fp32": 0.95, "bf16": 0.95}


def label(evidence, index):
    return evidence.settings[index].label


def winner(evidence):
    return label(evidence, decide(evidence).winner)


def standings(evidence):
    decision = decide(evidence)
    return {label(evidence, v.setting): v.standing for v in decision.verdicts}


def test_the_fastest_that_is_not_worse_wins(make_evidence):
    evidence = make_evidence(qualities=GOOD)

    assert winner(evidence) == "precision=bf16 micro_batch_size=32"
    assert set(standings(evidence).values()) == {Standing.WINNER, Standing.BEATEN}


def test_the_fastest_that_is_worse_does_not(make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.95, "bf16": 0.90})

    assert winner(evidence) == "precision=fp32 micro_batch_size=32"
    assert standings(evidence)["precision=bf16 micro_batch_size=32"] is Standing.REJECTED


def test_before_anything_is_trained_the_fastest_cut_of_the_reference_leads(make_evidence):
    evidence = make_evidence(speeds={"precision=fp32 micro_batch_size=8": 1000.0})

    assert winner(evidence) == "precision=fp32 micro_batch_size=8"
    assert standings(evidence)["precision=bf16 micro_batch_size=32"] is Standing.UNKNOWN


@pytest.mark.parametrize("seed", range(10))
def test_among_equally_fast_precisions_the_safer_wins(make_evidence, seed):
    space = {"precision": ["fp16", "bf16", "fp32"]}
    speeds = {f"precision={name}": 1000.0 for name in space["precision"]} | {"reference": 1000.0}
    evidence = make_evidence(
        space=space, speeds=speeds, qualities={"fp32": 0.95, "bf16": 0.95, "fp16": 0.95}, seed=seed
    )

    decision = decide(evidence)

    assert label(evidence, decision.winner) == "precision=fp32"
    assert {label(evidence, i) for i in decision.ties} == {"precision=bf16", "precision=fp16"}
    assert all(decision.verdicts[i].standing is Standing.TIE for i in decision.ties)


@pytest.mark.parametrize("seed", range(10))
def test_among_equally_fast_cuts_the_smaller_micro_batch_wins(make_evidence, seed):
    space = {"batch.micro_batch_size": [8, 16, 32, 64]}
    speeds = {f"micro_batch_size={size}": 1000.0 for size in (16, 32, 64)}
    speeds["micro_batch_size=8"] = 800.0

    evidence = make_evidence(space=space, speeds=speeds, seed=seed)

    assert winner(evidence) == "micro_batch_size=16"


def test_among_equals_in_memory_the_clearly_cheaper_comes_before_the_micro_batch(make_evidence):
    """Both peaks are within 2%; the smaller micro-batch is twice as slow."""
    evidence = make_evidence(
        space={"batch.micro_batch_size": [8, 32]},
        spec={"objective": "peak_memory_gib"},
        speeds={"micro_batch_size=8": 500.0, "micro_batch_size=32": 1000.0},
    )
    points = tuple(
        MemoryPoint(setting=i, micro_batch_size=size, peak_gib=gib, duration_s=1.0)
        for i, size, gib in ((0, 8, 1.0), (1, 32, 1.015))
    )
    probe = evidence.probe.model_copy(update={"memory": points})

    assert winner(evidence.model_copy(update={"probe": probe})) == "micro_batch_size=32"


def test_fewer_workers_come_before_cheaper(make_evidence):
    evidence = make_evidence(
        space={"resources.num_workers": [1, 2]},
        speeds={"num_workers=1": 1000.0, "num_workers=2": 1000.0},
    )

    assert winner(evidence) == "num_workers=1"


def test_money_counts_every_worker(make_evidence):
    """Two workers are faster, but not twice as fast."""
    speeds = {"num_workers=1": 1000.0, "num_workers=2": 1600.0}
    space = {"resources.num_workers": [1, 2]}

    fast = make_evidence(space=space, speeds=speeds)
    cheap = make_evidence(space=space, speeds=speeds, spec={"objective": "money"})

    assert (winner(fast), winner(cheap)) == ("num_workers=2", "num_workers=1")


def test_energy_counts_what_the_meter_said(make_evidence):
    evidence = make_evidence(
        spec={"objective": "energy"}, watts={"fp32": 100.0, "bf16": 400.0}, qualities=GOOD
    )

    assert winner(evidence) == "precision=fp32 micro_batch_size=32"


def test_without_a_meter_nobody_wins_by_energy(make_evidence):
    evidence = make_evidence(spec={"objective": "energy"}, qualities=GOOD)

    assert decide(evidence).winner is None
    assert set(standings(evidence).values()) == {Standing.UNKNOWN}


def test_the_least_memory_wins_if_asked_for(make_evidence):
    evidence = make_evidence(spec={"objective": "peak_memory_gib"}, qualities=GOOD)

    assert winner(evidence) == "precision=bf16 micro_batch_size=8"


def test_the_cheapest_way_to_the_target_wins(make_evidence):
    """bf16 is half as fast again here, and learns as well."""
    evidence = make_evidence(spec={"objective": "cost_to_target"}, qualities=GOOD)

    assert winner(evidence) == "precision=bf16 micro_batch_size=32"


RATES = {"optimizer.learning_rate": [1e-3, 1e-2]}
BY_QUALITY = {"objective": "quality"}
REFERENCE_RATE, OTHER_RATE = "fp32 learning_rate=0.001", "fp32 learning_rate=0.01"


def test_the_best_quality_wins_if_it_is_better_beyond_chance(make_evidence):
    qualities = {REFERENCE_RATE: [0.90, 0.902, 0.901], OTHER_RATE: [0.95, 0.951, 0.952]}
    evidence = make_evidence(space=RATES, spec=BY_QUALITY, qualities=qualities)

    assert winner(evidence) == "learning_rate=0.01"
    assert standings(evidence)["learning_rate=0.001"] is Standing.BEATEN


def test_a_better_mean_that_may_be_chance_is_a_tie_with_the_reference(make_evidence):
    qualities = {REFERENCE_RATE: [0.95, 0.94, 0.96], OTHER_RATE: [0.953, 0.949, 0.951]}
    evidence = make_evidence(space=RATES, spec=BY_QUALITY, qualities=qualities)

    assert winner(evidence) == "learning_rate=0.001"
    assert standings(evidence)["learning_rate=0.01"] is Standing.TIE


def test_less_error_is_better_quality(make_evidence):
    qualities = {REFERENCE_RATE: 0.5, OTHER_RATE: 0.4}
    evidence = make_evidence(metric="rmse", space=RATES, spec=BY_QUALITY, qualities=qualities)

    assert winner(evidence) == "learning_rate=0.01"


def test_one_seed_does_not_win_by_quality(make_evidence):
    qualities = {REFERENCE_RATE: 0.90, OTHER_RATE: [0.99]}
    evidence = make_evidence(space=RATES, spec=BY_QUALITY, qualities=qualities)

    assert winner(evidence) == "learning_rate=0.001"
    assert standings(evidence)["learning_rate=0.01"] is Standing.UNKNOWN


@pytest.mark.parametrize(
    ("constraints", "why"),
    [
        ({"max_peak_memory_gib": 0.1}, "takes 0.25 GiB, max_peak_memory_gib is 0.10"),
        ({"max_latency_ms": 1.0}, "one row takes 2.10 ms, max_latency_ms is 1"),
        ({"min_quality": 0.99}, "accuracy 0.9500, min_quality is 0.99"),
    ],
)
def test_a_broken_constraint_is_told_with_both_numbers(make_evidence, constraints, why):
    evidence = make_evidence(
        spec={"constraints": constraints},
        qualities=GOOD,
        space={"precision": ["fp32", "bf16"], "batch.micro_batch_size": [1, 32]},
    )

    decision = decide(evidence)
    verdict = decision.verdicts[2]

    assert decision.winner is None
    assert verdict.standing is Standing.INFEASIBLE
    assert verdict.why == why.replace("0.25", "0.26")


def test_a_ceiling_for_an_error_is_not_a_floor(make_evidence):
    evidence = make_evidence(
        metric="rmse", spec={"constraints": {"min_quality": 0.5}},
        qualities={"fp32": 0.4, "bf16": 0.4},
    )  # fmt: skip

    assert decide(evidence).winner is not None


def test_what_a_constraint_needs_and_nobody_measured_is_unknown(make_evidence):
    evidence = make_evidence(spec={"constraints": {"max_latency_ms": 9.0}}, qualities=GOOD)
    probe = evidence.probe.model_copy(update={"latencies": ()})

    found = standings(evidence.model_copy(update={"probe": probe}))

    assert set(found.values()) == {Standing.UNKNOWN}


def test_what_does_not_fit_into_memory_is_infeasible(make_evidence):
    evidence = make_evidence(qualities=GOOD)
    points = tuple(
        point.model_copy(update={"peak_gib": None}) if point.setting == 3 else point
        for point in evidence.probe.memory
    )
    probe = evidence.probe.model_copy(update={"memory": points})
    evidence = evidence.model_copy(update={"probe": probe})

    assert standings(evidence)["precision=bf16 micro_batch_size=32"] is Standing.INFEASIBLE
    assert winner(evidence) == "precision=bf16 micro_batch_size=8"


def test_what_cannot_run_here_is_a_row_with_its_reason(make_evidence):
    evidence = make_evidence(refused={2: "no bf16 here"}, qualities=GOOD)
    probe = evidence.probe.model_copy(update={"failures": {3: "killed by signal 9"}})

    decision = decide(evidence.model_copy(update={"probe": probe}))

    assert [(v.standing, v.why) for v in decision.verdicts[2:]] == [
        (Standing.FAILED, "no bf16 here"),
        (Standing.FAILED, "killed by signal 9"),
    ]


def test_what_was_hopeless_at_a_glance_is_beaten(make_evidence):
    untimed = {f"precision=bf16 micro_batch_size={size}": None for size in (8, 32)}
    evidence = make_evidence(speeds=untimed)
    given_up = dict.fromkeys((2, 3), "bf16: 80x slower than fp32 for 8 samples")
    probe = evidence.probe.model_copy(update={"given_up": given_up})

    verdict = decide(evidence.model_copy(update={"probe": probe})).verdicts[3]

    assert (verdict.standing, verdict.why) == (Standing.BEATEN, given_up[3])


def test_what_failed_at_the_first_glance_has_failed_on_as_many_workers(make_evidence):
    space = {"batch.micro_batch_size": [8, 32], "resources.num_workers": [1, 2]}
    labels = [f"micro_batch_size={size} num_workers=2" for size in (8, 32)]
    evidence = make_evidence(space=space, speeds=dict.fromkeys(labels))
    two = [one.index for one in evidence.settings if one.num_workers == 2]
    glance = Glance(setting=two[0], micro_batch_size=8, sample_s=None, why="no such kernel")
    probe = evidence.probe.model_copy(update={"glances": (glance,)})

    verdicts = decide(evidence.model_copy(update={"probe": probe})).verdicts

    failed = [verdict.setting for verdict in verdicts if verdict.standing is Standing.FAILED]
    assert failed == two


UNTRAINED = {"space": {"precision": ["fp32", "bf16", "fp16"]}, "qualities": GOOD}


@pytest.mark.parametrize(
    ("speed", "standing", "why"),
    [
        (1400.0, Standing.BEATEN, "x the speed of the winner"),
        (2000.0, Standing.BEATEN, "within the noise of the winner, which is safer"),
        (2600.0, Standing.UNKNOWN, "others were more promising"),
    ],
)
def test_what_was_not_trained_is_beaten_if_its_quality_would_change_nothing(
    make_evidence, speed, standing, why
):
    speeds = {"precision=fp32": 1000.0, "precision=bf16": 2000.0, "precision=fp16": speed}

    verdict = decide(make_evidence(speeds=speeds, noise=0.002, **UNTRAINED)).verdicts[2]

    assert verdict.standing is standing
    assert why in verdict.why


def test_what_nobody_came_to_is_unknown(make_evidence):
    untimed = {"precision=bf16 micro_batch_size=32": None}
    evidence = make_evidence(speeds=untimed, qualities=GOOD)
    spending = evidence.spending.model_copy(update={"stopped_by": "budget.wall_clock_s"})

    verdict = decide(evidence.model_copy(update={"spending": spending})).verdicts[3]

    assert verdict.standing is Standing.UNKNOWN
    assert "budget.wall_clock_s" in verdict.why


def test_there_is_one_verdict_and_one_row_of_costs_for_each_setting(make_evidence):
    evidence = make_evidence(qualities=GOOD)

    decision = decide(evidence)

    indices = [setting.index for setting in evidence.settings]
    assert [verdict.setting for verdict in decision.verdicts] == indices
    assert [costs.setting for costs in decision.costs] == indices


def test_the_provisional_winner_is_the_winner(make_evidence):
    evidence = make_evidence(qualities=GOOD)

    assert provisional_winner(evidence) == decide(evidence).winner


def test_a_run_of_the_winner_itself_changes_nothing(make_evidence):
    """It is trained last, so that there is something to register."""
    evidence = make_evidence(qualities=GOOD)
    again = evidence.runs[0].model_copy(update={"setting": 0, "metric": 0.1, "run_id": "again"})

    after = decide(evidence.model_copy(update={"runs": (*evidence.runs, again)}))

    assert after == decide(evidence)


@pytest.mark.parametrize(
    ("latencies", "sizes"),
    [
        ({1: 1.0, 2: 1.1, 4: 1.3, 8: 2.6}, (1, 4)),  # 8 is no faster than 4
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.8}, (1, 4, 8)),  # 4 is within a fifth of 8
        ({4: 1.0}, (1, 4)),
        ({}, ()),
    ],
)
def test_batch_sizes_for_serving_lie_on_the_knee(make_evidence, latencies, sizes):
    evidence = make_evidence()
    [one, *_] = evidence.probe.latencies
    measured = tuple(
        one.model_copy(update={"setting": 0, "num_rows": rows, "latency_ms": ms})
        for rows, ms in latencies.items()
    )
    probe = evidence.probe.model_copy(update={"latencies": measured})

    decision = decide(evidence.model_copy(update={"probe": probe}))

    assert decision.serving_batch_sizes == sizes
