"""Each vendor's instruments have their own ways; none of them reaches a reading."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from raymi.accelerators.catalog import CPU, find
from raymi.accelerators.meters.amd import AmdMeter
from raymi.accelerators.meters.choice import open_meter
from raymi.accelerators.meters.counter import GrowingCounter
from raymi.accelerators.meters.estimate import EstimateMeter
from raymi.accelerators.meters.nvidia import NvidiaMeter
from raymi.accelerators.meters.rapl import RaplMeter
from raymi.errors import NotFoundError

AMDSMI = Path(__file__).parents[2] / "stubs" / "amdsmi" / "__init__.py"
MI300X, H100 = find("AMD-Instinct-MI300X-OAM"), find("H100")


@pytest.fixture
def amdsmi(monkeypatch):
    """Two MI300X, amdsmi's 0 being HIP's 1."""
    spec = importlib.util.spec_from_file_location("amdsmi", AMDSMI)
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    monkeypatch.setitem(sys.modules, "amdsmi", library)
    return library


@pytest.fixture
def nvml(monkeypatch):
    """A device that says only why its clock is low."""
    library = SimpleNamespace(
        reasons=0,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=["the only one"].__getitem__,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: library.reasons,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


@pytest.fixture
def no_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    monkeypatch.setitem(sys.modules, "pynvml", None)


def write_zone(root, zone, name, microjoules, limit=262_143_328_850):
    directory = root / "sys/class/powercap" / zone
    directory.mkdir(parents=True, exist_ok=True)
    for file, value in [
        ("name", name),
        ("energy_uj", microjoules),
        ("max_energy_range_uj", limit),
    ]:
        (directory / file).write_text(f"{value}\n")


def answer(**fields):
    return lambda *_: fields


def test_a_device_is_found_by_its_number_in_hip_and_not_in_amdsmi(amdsmi):
    assert [AmdMeter(index=hip).read().power_w for hip in (0, 1)] == [501, 500]


def test_where_amdsmi_does_not_tell_hips_numbers_its_own_are_taken(amdsmi, monkeypatch):
    monkeypatch.setattr(amdsmi, "amdsmi_get_gpu_enumeration_info", answer(hip_id="N/A"))

    assert AmdMeter(index=1).read().power_w == 501


def test_a_device_that_is_not_there_is_not_opened(amdsmi):
    with pytest.raises(NotFoundError, match="2 devices"):
        AmdMeter(index=2)


def test_a_power_that_was_never_written_is_passed_over_for_the_average(amdsmi, monkeypatch):
    unwritten = answer(current_socket_power=0xFFFFFFFF, average_socket_power=290)
    monkeypatch.setattr(amdsmi, "amdsmi_get_power_info", unwritten)

    assert AmdMeter(index=0).read().power_w == 290


def test_partitions_of_a_package_share_its_power(amdsmi, monkeypatch):
    monkeypatch.setenv("AMDSMI_STUB_NUM_GPUS", "16")
    monkeypatch.setattr(
        amdsmi, "amdsmi_get_gpu_device_bdf", lambda handle: f"0000:0{handle // 8}:00.0"
    )

    assert AmdMeter(index=3).num_sharing == 8


def test_the_clock_is_that_of_the_slowest_die_and_the_heat_of_the_hottest_sensor(amdsmi):
    reading = AmdMeter(index=0).read()

    assert (reading.clock_mhz, reading.temperature_c) == (1190, 61)


def test_time_spent_at_a_limit_since_the_last_reading_is_throttling(amdsmi, monkeypatch):
    meter = AmdMeter(index=0)
    names = ["ppt", "socket_thm", "vr_thm", "hbm_thm"]
    held = {f"{name}_residency_acc": 0 for name in names} | {"prochot_residency_acc": 0}
    seen = []

    for milliseconds in (5, 5, 6):
        held["ppt_residency_acc"] = milliseconds
        monkeypatch.setattr(amdsmi, "amdsmi_get_gpu_metrics_info", answer(**held))
        seen.append(meter.read().throttled)

    assert seen == [None, False, True]


@pytest.mark.parametrize(
    ("reasons", "throttled"), [(0x1, False), (0x2, False), (0x4, True), (0x40, True), (0x81, True)]
)
def test_an_idle_clock_is_low_but_not_throttled(nvml, reasons, throttled):
    nvml.reasons = reasons

    assert NvidiaMeter(index=0).read().throttled is throttled


def test_an_nvidia_device_that_is_not_there_is_not_opened(nvml):
    with pytest.raises(NotFoundError, match="NVIDIA device 1"):
        NvidiaMeter(index=1)


def test_all_packages_are_counted_once(tmp_path):
    write_zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    write_zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    write_zone(tmp_path, "intel-rapl:2", "psys", 100_000_000)
    write_zone(tmp_path, "intel-rapl:0:0", "core", 900_000)
    write_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1_000_000)
    meter = RaplMeter(root=tmp_path)
    before = meter.read()

    write_zone(tmp_path, "intel-rapl:0", "package-0", 3_000_000)
    write_zone(tmp_path, "intel-rapl:1", "package-1", 9_000_000)
    write_zone(tmp_path, "intel-rapl:2", "psys", 900_000_000)
    write_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 3_000_000)
    after = meter.read()

    spent = after.energy_j - before.energy_j
    assert spent == pytest.approx(6.0)
    assert after.power_w == pytest.approx(spent / (after.time_s - before.time_s))


def test_a_counter_that_wrapped_goes_on_from_where_it_was():
    counter = GrowingCounter(wraps_at=100.0)

    assert [counter.total(raw) for raw in (90.0, 95.0, 5.0, 5.0)] == [0.0, 5.0, 15.0, 15.0]


def test_a_counter_that_was_reset_says_nothing_more():
    counter = GrowingCounter()

    assert [counter.total(raw) for raw in (7.0, 9.0, 1.0, 50.0)] == [0.0, 2.0, None, None]


def test_a_counter_that_was_away_for_a_moment_counts_that_moment():
    counter = GrowingCounter()

    assert [counter.total(raw) for raw in (7.0, None, 12.0)] == [0.0, None, 5.0]


def test_an_estimate_is_a_share_of_the_board_and_says_that_it_is_one():
    reading = EstimateMeter(MI300X).read()

    assert (reading.power_w, reading.is_estimate) == (0.8 * 750, True)


def test_nothing_is_assumed_about_the_power_of_a_cpu():
    reading = EstimateMeter(CPU).read()

    assert (reading.power_w, reading.is_estimate) == (None, False)


@pytest.mark.parametrize("accelerator", [MI300X, H100, CPU], ids=lambda a: a.name)
def test_without_instruments_there_is_an_estimate(no_library, tmp_path, accelerator):
    assert open_meter(accelerator, index=0, root=tmp_path).name == "estimate"


def test_the_vendors_instruments_come_first(amdsmi, nvml, tmp_path):
    write_zone(tmp_path, "intel-rapl:0", "package-0", 1)

    names = [open_meter(a, index=0, root=tmp_path).name for a in (MI300X, H100, CPU)]

    assert names == ["amdsmi", "nvml", "rapl"]
