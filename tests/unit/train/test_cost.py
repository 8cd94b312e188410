"""A run costs what its workers were held for, whether they trained, started up or died."""

from pathlib import Path

import pytest

from raymi.accelerators.energy import Energy, EnergyMethod
from raymi.accelerators.inventory import DeviceFacts
from raymi.train.cost import accelerator_seconds, run_energy_j
from raymi.train.events import EVENTS_FILE, EventLog
from raymi.train.step_times import summarize
from raymi.train.telemetry import TELEMETRY_FILE, RankTelemetry, merge


def at(time: float, kind: str, **fields: object) -> dict[str, object]:
    return {"event": kind, "time": time, **fields}


def test_two_workers_held_for_ten_seconds_cost_twenty():
    events = [at(5.0, "starting", num_workers=2), at(9.0, "attempt"), at(15.0, "ended")]

    assert accelerator_seconds(events) == 20.0


def test_attempts_add_up_and_the_time_between_them_is_free():
    events = [
        at(0.0, "starting", num_workers=2),
        at(10.0, "ended"),
        at(60.0, "starting", num_workers=1),
        at(65.0, "ended"),
    ]

    assert accelerator_seconds(events) == 25.0


def test_an_attempt_whose_driver_was_killed_counts_up_to_its_last_word():
    events = [
        at(0.0, "starting", num_workers=1),
        at(7.0, "epoch"),
        # A day later the same run goes on.
        at(90_000.0, "starting", num_workers=1),
        at(90_004.0, "ended"),
    ]

    assert accelerator_seconds(events) == 7.0 + 4.0


def test_waiting_in_vain_for_room_after_a_driver_was_killed_costs_nothing():
    events = [
        at(0.0, "starting", num_workers=2),
        at(7.0, "epoch"),
        at(90_000.0, "failure", reason="no_room"),
        at(90_001.0, "stopped"),
    ]

    assert accelerator_seconds(events) == 14.0


def test_an_attempt_that_is_under_way_counts_up_to_its_last_word():
    events = [at(0.0, "starting", num_workers=4), at(2.5, "progress")]

    assert accelerator_seconds(events) == 10.0


def test_what_happens_after_the_end_costs_nothing():
    events = [at(0.0, "starting", num_workers=1), at(1.0, "ended"), at(50.0, "finished")]

    assert accelerator_seconds(events) == 1.0


def test_a_run_that_was_never_started_cost_nothing():
    assert accelerator_seconds([]) == 0.0


def finished_run(run_dir: Path, method: EnergyMethod | None, *, num_attempts: int = 1) -> Path:
    log = EventLog(run_dir / EVENTS_FILE)
    for _ in range(num_attempts):
        log.append("attempt", step=0)
    rank = RankTelemetry(
        rank=0,
        host="host",
        device=DeviceFacts(accelerator="cpu"),
        meter="rapl",
        num_sharing=1,
        step_times=summarize([0.01]),
        num_samples=10,
        samples_per_s=900.0,
        tokens_per_s=None,
        data_wait_share=0.0,
        peak_memory_gib=1.0,
        flops_per_sample=None,
        energy=Energy(joules=250.0, mean_power_w=5.0, method=method) if method else None,
        throttled_share=None,
        series=(),
    )
    merge([rank]).save(run_dir / TELEMETRY_FILE)
    return run_dir


@pytest.mark.parametrize("method", [EnergyMethod.COUNTER, EnergyMethod.INTEGRATED])
def test_energy_is_what_the_instruments_said(tmp_path, method):
    assert run_energy_j(finished_run(tmp_path, method)) == 250.0


@pytest.mark.parametrize("method", [EnergyMethod.ESTIMATED, None])
def test_a_guess_is_no_energy(tmp_path, method):
    assert run_energy_j(finished_run(tmp_path, method)) is None


def test_the_energy_of_the_last_of_two_attempts_is_not_that_of_the_run(tmp_path):
    run_dir = finished_run(tmp_path, EnergyMethod.COUNTER, num_attempts=2)

    assert run_energy_j(run_dir) is None


def test_a_run_that_has_left_nothing_has_no_energy(tmp_path):
    assert run_energy_j(tmp_path) is None
