"""Who is best in truth, and whom somebody would pick from single runs."""

from dataclasses import dataclass

import pytest

from raymi.bench.sweep_verdict import Row, pick, truth_of


@dataclass(frozen=True)
class Space:
    reference: int = 0
    metric: str = "accuracy"
    higher_is_better: bool = True


def rows(*settings: tuple[float, float], seeds: int = 1) -> list[Row]:
    """(metric, samples/s) of each setting, with a little of each seed's own."""
    return [
        Row(setting=index, seed=seed, metric=metric, samples_per_s=speed * (1 + 0.001 * seed))
        for index, (metric, speed) in enumerate(settings)
        for seed in range(seeds)
    ]


def test_the_fastest_of_those_as_good_as_the_reference_is_picked():
    found = rows((0.90, 100.0), (0.895, 150.0), (0.80, 900.0))

    assert pick(found, Space(), margin=0.01) == 1


def test_the_best_quality_stands_in_for_a_reference_that_was_stopped():
    found = [row for row in rows((0.90, 100.0), (0.95, 50.0), (0.90, 80.0)) if row.setting]

    assert pick(found, Space(), margin=0.01) == 1


def test_nobody_is_picked_from_nothing():
    assert pick([], Space(), margin=0.01) is None


@pytest.mark.parametrize(("loss", "is_good"), [(2.0, True), (2.019, True), (2.03, False)])
def test_where_less_is_better_the_margin_is_a_share(loss, is_good):
    space = Space(metric="loss", higher_is_better=False)

    found = pick(rows((2.0, 100.0), (loss, 200.0)), space, margin=0.01)

    assert found == (1 if is_good else 0)


def test_truth_averages_over_seeds():
    lucky = [Row(1, 0, 0.92, 200.0), Row(1, 1, 0.80, 200.0), Row(1, 2, 0.80, 200.0)]

    truth = truth_of([*rows((0.90, 100.0), seeds=3), *lucky], Space(), margin=0.01, noise_floor=0)

    assert truth.winner == 0


def test_a_setting_within_the_noise_is_as_good_as_the_best():
    found = rows((0.9, 100.0), (0.9, 98.0), (0.9, 90.0), seeds=5)

    truth = truth_of(found, Space(), margin=0.01, noise_floor=0.03)

    assert truth.best == (0, 1)
