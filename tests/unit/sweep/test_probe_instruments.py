"""What all workers saw is put together: energy is summed, and a guess is no measurement."""

from __future__ import annotations

import pytest
import torch

from raymi.accelerators.meters.fake import FakeMeter
from raymi.accelerators.meters.protocol import Reading
from raymi.sweep.probe import instruments
from raymi.sweep.probe.instruments import Instruments, Observation
from raymi.train.launcher import SingleProcessLauncher


@pytest.fixture
def open_with(monkeypatch):
    """Instruments whose meter reads from a script."""

    def make(*script: Reading, num_sharing: int = 1) -> Instruments:
        meter = FakeMeter(script, num_sharing=num_sharing)
        monkeypatch.setattr(instruments, "open_meter", lambda *_, **__: meter)
        return Instruments("cpu", SingleProcessLauncher())

    return make


def turn_of(found: Instruments):
    found.begin()
    return found.sum_up(0.5, [found.end(takes_part=True)])


def test_a_counter_tells_energy(open_with):
    # The first reading finds out what the meter can do.
    found = open_with(Reading(0.0, energy_j=1.0), Reading(1.0, energy_j=5.0), Reading(2.0, 12.0))

    turn = turn_of(found)

    assert (found.meter_name, turn.energy_j, turn.duration_s) == ("fake", 7.0, 0.5)


def test_without_a_counter_power_over_time_does(open_with):
    readings = [Reading(float(t), power_w=p) for t, p in ((0, 90.0), (1, 100.0), (3, 140.0))]

    assert turn_of(open_with(*readings)).energy_j == pytest.approx(120.0 * 2.0)


@pytest.mark.parametrize(
    "reading", [Reading(0.0), Reading(0.0, power_w=300.0, is_estimate=True)], ids=["none", "guess"]
)
def test_what_nothing_measures_is_not_told(open_with, reading):
    found = open_with(reading)

    assert (found.meter_name, turn_of(found).energy_j) == (None, None)


def test_energy_of_a_package_that_others_share_is_not_told(open_with):
    found = open_with(Reading(0.0, energy_j=1.0), num_sharing=8)

    assert found.meter_name is None


def test_one_worker_without_a_measurement_leaves_the_sum_unknown(open_with):
    found = open_with(Reading(0.0, energy_j=1.0))
    found.begin()
    known = found.end(takes_part=True)
    unknown = Observation.of([*known.numbers()[:5], float("nan"), 0.0, 0.0])

    assert found.sum_up(0.5, [known, unknown]).energy_j is None


def test_an_observation_can_be_sent(open_with):
    found = open_with(Reading(0.0, energy_j=1.0))
    found.begin()
    seen = found.end(takes_part=True)

    sent = torch.tensor(seen.numbers(), dtype=torch.float64).tolist()

    assert Observation.of(sent) == seen


def test_on_cpus_a_clock_says_nothing_and_memory_is_measured_elsewhere(open_with):
    turn = turn_of(open_with(Reading(0.0, throttled=True)))

    assert (turn.throttled, turn.peak_gib) == (False, None)
    assert turn.foreign_share is not None


def test_a_machine_is_named_by_host_processor_and_torch(open_with):
    line = open_with(Reading(0.0)).machine_line()

    assert len(line) == 3
    assert line[2] == torch.__version__
