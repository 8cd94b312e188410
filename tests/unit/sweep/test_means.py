"""What a sweep can still pay is told from what its runs cost, or from their probed speed."""

from types import SimpleNamespace

import pytest

from raymi.sweep.allowance import Limits
from raymi.sweep.evidence import Spending
from raymi.sweep.means import START_UP_S, Means

SPENT_S = 60.0


@pytest.fixture
def make_means():
    """Of a sweep that has spent a minute, on a cluster for one run at a time."""

    def make(accelerator_s: float | None = None, *, seeds: int = 3) -> Means:
        spec = SimpleNamespace(quality=SimpleNamespace(seeds=seeds))
        ground = SimpleNamespace(spec=spec, num_concurrent=lambda settings: 1)
        monitor = SimpleNamespace(
            limits=Limits(accelerator_s=accelerator_s, wall_clock_s=None, reserve=0.0),
            spending=lambda: Spending(probe_s=SPENT_S),
        )
        return Means(ground, monitor)

    return make


def test_before_any_run_the_probed_speed_tells_its_cost(make_means, make_evidence):
    evidence = make_evidence(speeds={"precision=fp32 micro_batch_size=32": 1000.0}, noise=0.0)

    cost = make_means().cost(evidence, evidence.settings[evidence.reference])

    # Two epochs of 4,096 rows.
    assert cost.wall_clock_s == pytest.approx(START_UP_S + 8.192, rel=0.02)


def test_after_runs_of_a_setting_they_tell_its_cost(make_means, make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.9})

    cost = make_means().cost(evidence, evidence.settings[evidence.reference])

    assert cost.accelerator_s == 10.0


@pytest.mark.parametrize(("budget_s", "pays"), [(None, True), (80.0, True), (79.0, False)])
def test_a_pair_is_paid_by_what_is_left(make_means, make_evidence, budget_s, pays):
    evidence = make_evidence(qualities={"fp32": 0.9, "bf16": 0.9})
    pair = [evidence.settings[evidence.reference], evidence.settings[3]]

    assert make_means(budget_s).pays(evidence, pair) is pays


def test_what_is_paid_already_needs_nothing(make_means, make_evidence):
    assert make_means(1.0).pays(make_evidence(), [])


def test_the_clock_counts_runs_side_by_side_once(make_means, make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.9})
    reference = evidence.settings[evidence.reference]

    assert make_means().expected_s(evidence, [reference] * 3) == pytest.approx(30.0)


def test_quality_gets_as_many_seeds_as_are_paid(make_means, make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.9, "bf16": 0.9})
    reference, candidate = evidence.settings[evidence.reference], evidence.settings[3]

    found = make_means(SPENT_S + 50.0).for_quality(evidence, [candidate], reference)

    assert (found.num_finalists, found.num_seeds) == (1, 2)
