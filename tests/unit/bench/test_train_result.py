"""From the speeds of every round to ratios, noise, scaling and what is said about the bars."""

import numpy as np
import pytest

from raymi.bench.train_result import BARS, summarise, verdict
from raymi.significance.interval import Interval

NUM_ROUNDS = 20


def rounds_of(**speeds: float) -> list[dict[str, float]]:
    """Rounds on a machine that is up to three times slower in some than in others."""
    slowness = np.random.default_rng(0).uniform(1.0, 3.0, NUM_ROUNDS)
    names = {name.replace("_", "-"): speed for name, speed in speeds.items()}
    return [{name: speed / slow for name, speed in names.items()} for slow in slowness]


ALL = {
    "raymi": 990.0,
    "torchrun": 1000.0,
    "torchrun_b": 1000.0,
    "fabric": 900.0,
    "accelerate": 660.0,
    "alone": 600.0,
    "together": 1100.0,
}


def test_ratios_are_ours_over_theirs_however_uneven_the_machine():
    speed = summarise(rounds_of(**ALL), num_workers=2, lost={})

    assert {name: ratio.median for name, ratio in speed.ratios.items()} == pytest.approx(
        {"torchrun": 0.99, "fabric": 1.1, "accelerate": 1.5}
    )


def test_the_noise_floor_is_what_a_contestant_differs_from_itself():
    rounds = rounds_of(**ALL)
    for one, noise in zip(rounds, np.linspace(0.9, 1.1, NUM_ROUNDS), strict=True):
        one["torchrun-b"] *= noise

    floor = summarise(rounds, num_workers=2, lost={}).noise_floor

    assert summarise(rounds_of(**ALL), num_workers=2, lost={}).noise_floor == pytest.approx(0.0)
    assert floor is not None
    assert 0.0 < floor < 0.1


def test_scaling_is_told_against_one_process_and_against_independent_ones():
    scaling = summarise(rounds_of(**ALL), num_workers=2, lost={}).scaling

    assert scaling is not None
    assert scaling.speedup.median == pytest.approx(990 / 600)
    assert scaling.limit_speedup.median == pytest.approx(1100 / 600)
    assert scaling.efficiency.median == pytest.approx(990 / 1100)


def test_the_document_has_exactly_the_promised_fields():
    document = summarise(rounds_of(**ALL), num_workers=2, lost={}).to_document()

    assert list(document) == ["samples_per_s", "ratios", "noise_floor", "scaling"]
    assert set(document["samples_per_s"]) == {
        "raymi", "torchrun", "torchrun-b", "fabric", "accelerate",
    }  # fmt: skip
    assert set(document["ratios"]) == set(BARS)
    assert set(document["ratios"]["fabric"]) == {"median", "low", "high"}


def test_one_that_was_lost_on_the_way_is_compared_over_the_rounds_it_ran():
    rounds = rounds_of(**ALL)
    for one in rounds[5:]:
        del one["fabric"]

    speed = summarise(rounds, num_workers=2, lost={"fabric": "rank 1 has left"})

    assert speed.ratios["fabric"].median == pytest.approx(1.1)
    assert speed.lost == {"fabric": "rank 1 has left"}


def test_what_never_ran_is_left_out():
    speed = summarise(rounds_of(raymi=1.0, torchrun=2.0), num_workers=1, lost={})

    assert set(speed.ratios) == {"torchrun"}
    assert speed.noise_floor is None
    assert speed.scaling is None
    assert speed.to_document()["scaling"] == {}


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        (Interval(1.02, 1.00, 1.05), "met"),
        (Interval(1.01, 0.98, 1.05), "met, but within the noise"),
        (Interval(0.99, 0.98, 1.05), "missed, but within the noise"),
        (Interval(0.97, 0.95, 0.99), "missed"),
    ],
)
def test_a_bar_is_met_only_as_surely_as_the_interval_says(interval, said):
    assert verdict(interval, 1.0, noise_floor=None) == said


def test_a_ratio_nearer_to_the_bar_than_the_noise_decides_nothing():
    ratio = Interval(1.05, 1.02, 1.08)

    assert verdict(ratio, 1.0, noise_floor=0.01) == "met"
    assert verdict(ratio, 1.0, noise_floor=0.2) == "met, but within the noise"
