"""Speeds: equal settings are called equal, different ones different, whatever the machine does."""

import numpy as np
import pytest

from raymi.sweep.decision.case import Case
from raymi.sweep.decision.speed import Speeds, list_timings, read_speeds
from raymi.sweep.evidence import Window

NUM_EXPERIMENTS = 400


def normal(rng, rounds):
    return np.exp(rng.normal(0.0, 0.01, rounds))


def interrupted(rng, rounds):
    """Mostly quick, now and then much slower, as when somebody else uses the machine."""
    return np.exp(-np.abs(rng.standard_t(2, rounds)) * 0.01)


def experiment(rng, draw, *, rounds=9, drift=0.0, factor=1.0, has_control=True) -> Speeds:
    """Two settings and the twin of the first; the second is `factor` times as fast."""
    pace = 1000.0 * np.exp(np.cumsum(rng.normal(0.0, drift, rounds)))
    first, second, twin = (
        dict(enumerate((pace * scale * draw(rng, rounds)).tolist())) for scale in (1, factor, 1)
    )
    return Speeds(
        rounds={0: first, 1: second},
        control=twin if has_control else {},
        twin_of=0,
        num_rejected={},
    )


def share_called_different(draw, **knobs) -> float:
    rng = np.random.default_rng(0)
    experiments = [experiment(rng, draw, **knobs) for _ in range(NUM_EXPERIMENTS)]
    return np.mean([not one.is_within_noise(one.ratio(1, 0)) for one in experiments])


@pytest.mark.parametrize("draw", [normal, interrupted])
@pytest.mark.parametrize("drift", [0.0, 0.05])
@pytest.mark.parametrize("rounds", [3, 6, 9, 20])
@pytest.mark.parametrize("has_control", [True, False])
def test_identical_settings_are_called_different_at_most_one_time_in_twenty(
    draw, drift, rounds, has_control
):
    share = share_called_different(draw, rounds=rounds, drift=drift, has_control=has_control)

    # Three standard errors of a share of 5% in 400 experiments.
    assert share <= 0.05 + 3 * (0.05 * 0.95 / NUM_EXPERIMENTS) ** 0.5


def test_with_a_control_it_is_far_less_often():
    assert share_called_different(normal) <= 0.01


@pytest.mark.parametrize("drift", [0.0, 0.05])
def test_a_real_difference_is_found_though_the_machine_drifts_by_more(drift):
    assert share_called_different(normal, factor=1.05, drift=drift) >= 0.98


def test_a_difference_below_the_noise_floor_is_a_tie():
    speeds = Speeds(
        rounds={0: dict.fromkeys(range(8), 1000.0), 1: dict.fromkeys(range(8), 1009.0)},
        control=dict.fromkeys(range(8), 1010.0),
        twin_of=0,
        num_rejected={},
    )

    assert speeds.noise_floor == pytest.approx(0.01)
    assert speeds.is_within_noise(speeds.ratio(1, 0))


def test_a_ratio_is_paired_by_round():
    """Rounds differ a hundredfold, the two settings by a tenth in each of them."""
    pace = [10.0, 1000.0, 30.0, 500.0, 77.0, 200.0]
    speeds = Speeds(
        rounds={0: dict(enumerate(pace)), 1: {i: 1.1 * p for i, p in enumerate(pace)}},
        control={},
        twin_of=0,
        num_rejected={},
    )

    ratio = speeds.ratio(1, 0)

    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((1.1, 1.1, 1.1))


def test_settings_without_a_common_round_are_compared_by_their_intervals():
    early = {i: 100.0 + i for i in range(6)}
    late = {i: 200.0 + i for i in range(6, 12)}
    speeds = Speeds(rounds={0: early, 1: late}, control={}, twin_of=0, num_rejected={})

    ratio = speeds.ratio(1, 0)

    assert ratio.low == pytest.approx(206.0 / 105.0)
    assert ratio.high == pytest.approx(211.0 / 100.0)


def test_a_speed_is_the_median_of_the_windows_that_count(make_evidence):
    evidence = make_evidence(rounds=7)
    windows = list(evidence.probe.windows)
    own = [w for w in windows if w.setting == 0]
    windows[windows.index(own[0])] = own[0].model_copy(
        update={"duration_s": 99.0, "rejected": "another process was busy"}
    )
    probe = evidence.probe.model_copy(update={"windows": tuple(windows)})
    case = Case(evidence.model_copy(update={"probe": probe}))

    timing = list_timings(case, read_speeds(case))[0]

    speeds = [w.num_steps * 64 / w.duration_s for w in own[1:]]
    assert timing.samples_per_s == pytest.approx(np.median(speeds))
    # Of six values the smallest and the largest hold the median in 97% of all cases.
    assert (timing.low, timing.high) == pytest.approx((min(speeds), max(speeds)))
    assert (timing.num_windows, timing.num_rejected) == (6, 1)


def test_the_control_is_not_taken_for_the_reference(make_evidence):
    evidence = make_evidence()
    case = Case(evidence)

    assert all(timing.num_windows == 8 for timing in list_timings(case, read_speeds(case)))


def test_the_fastest_setting_is_what_others_are_compared_with(make_evidence):
    case = Case(make_evidence(noise=0.0))

    timings = list_timings(case, read_speeds(case))

    assert [timing.of_best for timing in timings] == pytest.approx(
        [(8 / 12) / (32 / 36) / 1.5, 1 / 1.5, (8 / 12) / (32 / 36), 1.0]
    )


def test_one_window_is_no_timing(make_evidence):
    case = Case(make_evidence(rounds=1))

    assert list_timings(case, read_speeds(case)) == ()
    assert read_speeds(case).noise_floor is None


def test_windows_of_one_round_are_taken_together(make_evidence):
    twice = [
        Window(setting=0, round=i, num_steps=1, duration_s=seconds)
        for i in range(6)
        for seconds in (1.0, 3.0)
    ]
    evidence = make_evidence()
    probe = evidence.probe.model_copy(update={"windows": tuple(twice)})
    speeds = read_speeds(Case(evidence.model_copy(update={"probe": probe})))

    assert speeds.rounds[0] == dict.fromkeys(range(6), 32.0)
