"""Many workers, one run: the slowest sets the pace, what they share is counted once."""

import pytest

from raymi.accelerators.energy import Energy, EnergyMethod
from raymi.accelerators.inventory import DeviceFacts
from raymi.train.step_times import summarize
from raymi.train.telemetry import RankTelemetry, RunTelemetry, merge


def rank(number: int = 0, *, bdf: str | None = None, **fields) -> RankTelemetry:
    told = {
        "rank": number,
        "host": "host-a",
        "device": DeviceFacts(accelerator="H100", bdf=bdf),
        "meter": "nvml",
        "num_sharing": 1,
        "step_times": summarize([0.1, 0.1]),
        "num_samples": 1000,
        "samples_per_s": 500.0,
        "tokens_per_s": None,
        "data_wait_share": 0.0,
        "peak_memory_gib": 1.0,
        "flops_per_sample": None,
        "energy": None,
        "throttled_share": None,
        "series": (),
    }
    return RankTelemetry(**told | fields)


def energy(joules: float, method: EnergyMethod = EnergyMethod.COUNTER) -> Energy:
    return Energy(joules=joules, mean_power_w=joules / 10, method=method)


def test_mfu_is_operations_per_second_and_worker_over_the_rate_of_a_device():
    run = merge(
        [rank(0), rank(1)],
        samples_per_s=1000.0,
        flops_per_sample=4e11,
        peak_tflops=1000.0,
        achieved_tflops=800.0,
    )

    # 4e11 x 1000 / 2 workers = 200 TFLOPS each.
    assert run.achieved_tflops_per_worker == pytest.approx(200.0)
    assert run.mfu_peak == pytest.approx(0.2)
    assert run.mfu_achieved == pytest.approx(0.25)


def test_mfu_of_a_device_nobody_knows_is_not_known():
    run = merge([rank()], flops_per_sample=1e9)

    assert (run.mfu_peak, run.mfu_achieved) == (None, None)
    assert run.achieved_tflops_per_worker == pytest.approx(0.0005 * 1e3)


def test_operations_that_were_not_counted_leave_mfu_unknown():
    run = merge([rank()], peak_tflops=1000.0)

    assert (run.achieved_tflops_per_worker, run.mfu_peak) == (None, None)


def test_what_a_worker_counted_serves_all():
    run = merge([rank(0, flops_per_sample=2e9), rank(1)], samples_per_s=2000.0)

    assert run.achieved_tflops_per_worker == pytest.approx(2.0)


def test_the_slowest_worker_speaks_for_the_run():
    fast = rank(0, step_times=summarize([0.1] * 4), data_wait_share=0.1, throttled_share=0.0)
    slow = rank(1, step_times=summarize([0.2] * 4), data_wait_share=0.4, peak_memory_gib=3.0,
                samples_per_s=250.0, tokens_per_s=9.0, throttled_share=0.5)  # fmt: skip

    run = merge([slow, fast])

    assert run.step_times.p50_ms == pytest.approx(200.0)
    assert run.samples_per_s == 250.0
    assert run.data_wait_share == 0.4
    assert run.throttled_share == 0.5
    assert run.peak_memory_gib == 3.0
    assert run.tokens_per_s == 9.0
    assert [told.rank for told in run.ranks] == [0, 1]


def test_energy_of_devices_adds_up_and_is_shared_out_among_rows():
    run = merge(
        [rank(0, bdf="0000:05:00.0", energy=energy(300)), rank(1, bdf="0000:26:00.0",
         energy=energy(500))]
    )  # fmt: skip

    assert run.energy == energy(800)
    assert run.joules_per_sample == pytest.approx(0.8)


def test_the_energy_of_a_host_counts_once_however_many_workers_read_it():
    run = merge(
        [rank(0, meter="rapl", energy=energy(300)), rank(1, meter="rapl", energy=energy(310)),
         rank(2, meter="rapl", host="host-b", energy=energy(100))]
    )  # fmt: skip

    assert run.energy is not None
    assert run.energy.joules == 410.0


def test_partitions_of_one_package_count_its_energy_once():
    ranks = [
        rank(number, bdf="0000:05:00.0", num_sharing=8, energy=energy(700)) for number in range(8)
    ]

    run = merge(ranks)

    assert run.energy is not None
    assert run.energy.joules == 700.0


def test_devices_without_an_address_are_told_apart_by_their_workers():
    run = merge([rank(0, energy=energy(300)), rank(1, energy=energy(500))])

    assert run.energy is not None
    assert run.energy.joules == 800.0


def test_a_sum_is_only_as_good_as_its_worst_part():
    run = merge([rank(0, energy=energy(300)), rank(1, energy=energy(500, EnergyMethod.ESTIMATED))])

    assert run.energy is not None
    assert run.energy.method is EnergyMethod.ESTIMATED


def test_energy_is_not_known_if_one_worker_cannot_tell():
    run = merge([rank(0, energy=energy(300)), rank(1)])

    assert (run.energy, run.joules_per_sample) == (None, None)


def test_telemetry_survives_the_disk(tmp_path):
    run = merge([rank(0, energy=energy(300))], flops_per_sample=1e9)

    run.save(tmp_path / "telemetry.json")

    assert RunTelemetry.load(tmp_path / "telemetry.json") == run
