"""Slow settings leave the race early; the reference and the fastest of each state stay."""

import pytest

from raymi.sweep.evidence import Window
from raymi.sweep.probe.race import is_over, is_steady, speeds, to_drop

ROUNDS = range(6)


def race(**speed_of: float) -> dict[int, dict[int, float]]:
    """Setting -> round -> speed, a little different in each round."""
    return {
        int(name[1:]): {r: speed * (1 + 0.01 * (r % 3)) for r in ROUNDS}
        for name, speed in speed_of.items()
    }


def test_what_is_clearly_slower_than_the_fastest_of_its_state_is_dropped():
    found = to_drop(
        race(s0=100, s1=95, s2=50, s3=40), [[0, 1, 2, 3]], protected={0}, keeps_slow=False
    )

    assert found == {2, 3}


def test_the_reference_stays_however_slow_it_is():
    found = to_drop(race(s0=10, s1=95, s2=90), [[0, 1, 2]], protected={0}, keeps_slow=False)

    assert found == set()


@pytest.mark.parametrize(("keeps_slow", "expected"), [(False, {2, 3}), (True, set())])
def test_a_state_that_is_slower_than_the_references_stays_only_if_it_could_win(
    keeps_slow, expected
):
    found = to_drop(
        race(s0=100, s1=90, s2=60, s3=55), [[0, 1], [2, 3]], protected={0}, keeps_slow=keeps_slow
    )

    assert found == expected


def test_nobody_is_dropped_in_the_first_rounds():
    short = {
        i: {r: s for r, s in rounds.items() if r < 3} for i, rounds in race(s0=9, s1=1).items()
    }

    assert to_drop(short, [[0], [1]], protected={0}, keeps_slow=False) == set()


def test_one_bad_round_drops_nobody():
    found = race(s0=100, s1=99, s2=98)
    found[2][1] = 20.0
    found[2][2] = 97.0

    assert to_drop(found, [[0, 1, 2]], protected={0}, keeps_slow=False) == set()


def test_the_race_is_over_when_everybody_is_known_precisely():
    precise = {0: dict.fromkeys(ROUNDS, 100.0), 1: dict.fromkeys(ROUNDS, 50.0)}
    vague = {0: dict.fromkeys(ROUNDS, 100.0), 1: {r: 50.0 + 5 * r for r in ROUNDS}}

    assert is_over(precise)
    assert not is_over(vague)
    assert not is_over({})


def test_windows_that_do_not_count_have_no_speed():
    windows = [
        Window(setting=0, round=0, num_steps=10, duration_s=2.0),
        Window(setting=0, round=1, num_steps=10, duration_s=9.0, rejected="busy"),
        Window(setting=0, round=1, num_steps=10, duration_s=2.0),
        Window(setting=0, round=0, num_steps=10, duration_s=3.0, is_control=True),
    ]

    assert speeds(windows, {0: 64}) == {0: {0: 320.0, 1: 320.0}}


@pytest.mark.parametrize(
    ("steps", "steady"),
    [([1.0, 0.5], False), ([1.0, 0.5, 0.3], False), ([1.0, 0.5, 0.5], True)],
)
def test_a_warm_up_ends_when_steps_stop_getting_faster(steps, steady):
    assert is_steady(steps) is steady
