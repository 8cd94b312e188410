"""The cost to a target: read off curves, or foretold from the gradient noise scale."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.sweep.decision.case import Case
from raymi.sweep.decision.decide import decide
from raymi.sweep.decision.target import (
    critical_batch_size,
    find_target,
    first_reached,
    samples_to_target,
)
from raymi.sweep.evidence import CurvePoint, NoiseScale

BATCHES = {"batch.global_batch_size": [64, 256, 1024]}
COST = {"objective": "cost_to_target", "batch_mode": "scaled"}


def curve(*points):
    return [CurvePoint(num_samples=samples, value=value) for samples, value in points]


@pytest.mark.parametrize(
    ("points", "target", "rises", "samples"),
    [
        ([(100, 0.5), (200, 0.7), (300, 0.9)], 0.8, True, 250.0),
        ([(100, 0.5), (200, 0.7), (300, 0.9)], 0.7, True, 200.0),
        ([(100, 0.5), (200, 0.7)], 0.4, True, 100.0),
        ([(100, 0.5), (200, 0.7)], 0.71, True, None),
        ([(100, 0.5), (200, 0.8), (300, 0.6), (400, 0.9)], 0.7, True, 100 + 200 / 3),
        ([(100, 4.0), (200, 2.0)], 3.0, False, 150.0),
        ([(100, float("nan")), (200, 0.8)], 0.7, True, 200.0),
        ([], 0.5, True, None),
    ],
)
def test_the_target_is_reached_on_the_line_between_two_points(points, target, rises, samples):
    reached = first_reached(curve(*points), target, rises=rises)

    assert reached == pytest.approx(samples) if samples else reached is None


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8), st.floats(0.0, 1.0))
def test_no_point_before_the_answer_is_as_good_as_the_target(values, target):
    points = curve(*((100 * (i + 1), value) for i, value in enumerate(values)))

    reached = first_reached(points, target, rises=True)

    before = [p.value for p in points if reached is None or p.num_samples < reached]
    assert all(value < target for value in before)


@pytest.mark.parametrize(
    ("metric", "target"), [("accuracy", 0.9 - 0.01), ("rmse", 0.9 * 1.01), ("loss", 0.9 * 1.01)]
)
def test_the_target_is_what_the_reference_reached_less_the_margin(make_evidence, metric, target):
    evidence = make_evidence(metric=metric, qualities={"fp32": [0.88, 0.92]})

    assert find_target(Case(evidence)) == pytest.approx(target)


def test_the_target_is_what_was_asked_if_something_was(make_evidence):
    evidence = make_evidence(spec={"quality": {"target": 0.8}}, qualities={"fp32": 0.9})

    assert find_target(Case(evidence)) == 0.8


def test_the_cost_is_that_of_the_samples_at_the_probed_speed(make_evidence):
    """The made-up curve rises by a tenth of the end value each half epoch, to 0.9 at 8192."""
    evidence = make_evidence(
        spec={"objective": "cost_to_target", "quality": {"target": 0.9 * 0.95}},
        qualities={"fp32": 0.9},
        speeds={"precision=fp32 micro_batch_size=32": 1000.0},
        noise=0.0,
    )

    costs = decide(evidence).costs[1]

    assert costs.cost_to_target_s == pytest.approx((6144 + 1024) / 1000.0)
    assert not costs.is_predicted


def test_a_seed_that_never_got_there_leaves_no_cost(make_evidence):
    evidence = make_evidence(
        spec={"objective": "cost_to_target", "quality": {"target": 0.9}},
        qualities={"fp32": [0.95, 0.95], "bf16": [0.95, 0.85]},
    )

    costs = decide(evidence).costs

    assert costs[1].cost_to_target_s is not None
    assert costs[3].cost_to_target_s is None


def test_a_seed_that_diverged_leaves_no_cost(make_evidence):
    evidence = make_evidence(
        spec={"quality": {"target": 0.9}}, qualities={"bf16": [0.95, 0.95, None]}
    )

    assert decide(evidence).costs[3].cost_to_target_s is None


def test_the_noise_scale_is_averaged_in_its_parts(make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.9})
    scales = [(1.0, 100.0, 10), (3.0, 100.0, 30), (-0.5, 140.0, 10)]
    runs = tuple(
        run.model_copy(
            update={"noise_scale": NoiseScale(gradient_square=g, noise_trace=s, num_estimates=n)}
        )
        for run, (g, s, n) in zip(evidence.runs, scales, strict=True)
    )

    critical = critical_batch_size(Case(evidence.model_copy(update={"runs": runs})))

    assert critical == pytest.approx((100 * 10 + 100 * 30 + 140 * 10) / (10 + 90 - 5))


def test_a_gradient_hidden_by_noise_has_no_critical_batch(make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.9}, critical_batch_size=-1.0)

    assert critical_batch_size(Case(evidence)) is None


@pytest.mark.parametrize("critical", [1.0, 300.0, 1e6])
def test_batches_that_were_not_trained_follow_from_the_noise_scale(make_evidence, critical):
    evidence = make_evidence(
        space=BATCHES, spec=COST, qualities={"fp32 global_batch_size=64": 0.9},
        critical_batch_size=critical,
    )  # fmt: skip

    found = samples_to_target(Case(evidence))

    # McCandlish et al.: steps = S_min (1 + B_crit / B), with S_min from the trained batch.
    steps = found["fp32 global_batch_size=64"].num_samples / 64
    least_steps = steps / (1.0 + critical / 64)
    for batch in (256, 1024):
        one = found[f"fp32 global_batch_size={batch}"]
        assert one.is_predicted
        assert one.num_samples == pytest.approx(batch * least_steps * (1.0 + critical / batch))


def test_what_was_trained_is_not_foretold(make_evidence):
    evidence = make_evidence(
        space=BATCHES, spec=COST, critical_batch_size=300.0,
        qualities={"fp32 global_batch_size=64": 0.9, "fp32 global_batch_size=256": 0.5},
    )  # fmt: skip

    found = samples_to_target(Case(evidence))

    assert "fp32 global_batch_size=256" not in found


def test_another_precision_is_not_foretold(make_evidence):
    evidence = make_evidence(
        space=BATCHES | {"precision": ["fp32", "bf16"]}, spec=COST, critical_batch_size=300.0,
        qualities={"fp32 global_batch_size=64": 0.9},
    )  # fmt: skip

    found = samples_to_target(Case(evidence))

    assert all(name.startswith("fp32") for name in found)
