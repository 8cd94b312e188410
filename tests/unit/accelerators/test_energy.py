"""Energy over some time: the counter first, then the integral of power, else nothing."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raymi.accelerators.energy import EnergyMethod, energy_between
from raymi.accelerators.meters.fake import FakeMeter
from raymi.accelerators.meters.protocol import Reading

watts = st.floats(1.0, 2000.0)
moments = st.lists(st.floats(0.0, 3600.0), min_size=2, max_size=30, unique=True).map(sorted)


@given(moments, watts)
def test_constant_power_is_power_times_time_however_it_is_sampled(times, power_w):
    assume(times[-1] - times[0] > 1e-3)

    energy = energy_between([Reading(t, power_w=power_w) for t in times])

    assert energy.joules == pytest.approx(power_w * (times[-1] - times[0]))
    assert energy.mean_power_w == pytest.approx(power_w)
    assert energy.method is EnergyMethod.INTEGRATED


@given(moments, st.floats(0.0, 0.5), watts)
def test_a_ramp_is_the_mean_of_its_ends_times_time_however_it_is_sampled(times, slope, start_w):
    duration_s = times[-1] - times[0]
    assume(duration_s > 1e-3)
    power = [start_w + slope * (t - times[0]) for t in times]

    energy = energy_between([Reading(t, power_w=p) for t, p in zip(times, power, strict=True)])

    assert energy.joules == pytest.approx((power[0] + power[-1]) / 2 * duration_s)


@given(moments, watts, st.floats(0.0, 1e9))
def test_a_counter_is_believed_before_sampled_power(times, power_w, zero_j):
    assume(times[-1] - times[0] > 1.0)
    readings = [Reading(t, energy_j=zero_j + power_w * t, power_w=5.0) for t in times]

    energy = energy_between(readings)

    assert energy.method is EnergyMethod.COUNTER
    assert energy.mean_power_w == pytest.approx(power_w, rel=1e-3)


@given(st.lists(watts, min_size=3, max_size=20), st.data())
def test_two_parts_of_a_time_use_what_the_whole_uses(powers, data):
    readings = [Reading(float(t), power_w=p) for t, p in enumerate(powers)]
    cut = data.draw(st.integers(1, len(powers) - 2))

    parts = [energy_between(readings[: cut + 1]), energy_between(readings[cut:])]

    assert sum(part.joules for part in parts) == pytest.approx(energy_between(readings).joules)


@pytest.mark.parametrize(
    "joules",
    [
        pytest.param([500.0, 600.0, 100.0], id="fell at the end"),
        pytest.param([500.0, 100.0, 900.0], id="fell and grew past where it was"),
        pytest.param([500.0, 500.0, 500.0], id="stood still"),
        pytest.param([None, 600.0, 700.0], id="was not there at first"),
        pytest.param([500.0, 600.0, None], id="is not there any more"),
    ],
)
def test_a_counter_that_cannot_be_right_is_passed_over(joules):
    readings = [Reading(float(t), energy_j=j, power_w=100.0) for t, j in enumerate(joules)]

    energy = energy_between(readings)

    assert (energy.joules, energy.method) == (pytest.approx(200.0), EnergyMethod.INTEGRATED)


def test_an_assumed_power_makes_an_estimate():
    readings = [Reading(0.0, power_w=600.0, is_estimate=True), Reading(2.0, power_w=600.0)]

    assert energy_between(readings).method is EnergyMethod.ESTIMATED


def test_a_missing_reading_at_an_end_is_like_its_neighbour():
    times = [0.0, *(0.5 + t for t in range(10)), 10.0]
    readings = [Reading(t, power_w=None if t in (0.0, 10.0) else 40.0) for t in times]

    assert energy_between(readings).joules == pytest.approx(400.0)


def test_power_known_for_half_of_the_time_says_nothing_about_the_other_half():
    readings = [Reading(float(t), power_w=40.0 if t < 5 else None) for t in range(10)]

    assert energy_between(readings) is None


@pytest.mark.parametrize(
    "readings",
    [
        pytest.param([], id="none"),
        pytest.param([Reading(1.0, energy_j=3.0, power_w=1.0)], id="one"),
        pytest.param([Reading(1.0, power_w=1.0), Reading(1.0, power_w=1.0)], id="no time between"),
        pytest.param([Reading(0.0), Reading(1.0)], id="no instruments"),
    ],
)
def test_where_nothing_tells_there_is_no_energy(readings):
    assert energy_between(readings) is None


def test_readings_out_of_order_are_a_mistake():
    with pytest.raises(ValueError, match="order of time"):
        energy_between([Reading(1.0), Reading(0.0)])


def test_a_meters_readings_are_what_energy_is_told_from():
    meter = FakeMeter([Reading(float(t), power_w=100.0 * t) for t in range(5)])

    energy = energy_between([meter.read() for _ in range(5)])

    assert energy.joules == pytest.approx(800.0)
