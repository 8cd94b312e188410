"""What every meter promises, whatever its library does; the same tests run on all of them."""

import importlib.util
import itertools
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from raymi.accelerators.catalog import find
from raymi.accelerators.meters.amd import AmdMeter
from raymi.accelerators.meters.estimate import EstimateMeter
from raymi.accelerators.meters.fake import FakeMeter
from raymi.accelerators.meters.nvidia import NvidiaMeter
from raymi.accelerators.meters.protocol import Reading
from raymi.accelerators.meters.rapl import RaplMeter

AMDSMI = Path(__file__).parents[1] / "stubs" / "amdsmi" / "__init__.py"
ZONE = "sys/class/powercap/intel-rapl:0"


class Amd:
    """amdsmi, as the stub has it, is what can fail."""

    def __init__(self, monkeypatch, directory):
        spec = importlib.util.spec_from_file_location("amdsmi", AMDSMI)
        self.library = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.library)
        self.patch = monkeypatch
        monkeypatch.setitem(sys.modules, "amdsmi", self.library)

    def open(self):
        return AmdMeter(index=0)

    def answer(self, function):
        for name in vars(self.library).copy():
            if name.startswith("amdsmi_get_") and name != "amdsmi_get_processor_handles":
                self.patch.setattr(self.library, name, function)

    def fail(self):
        self.answer(refuse)

    def say_nothing(self):
        unknown = dict.fromkeys(["current_socket_power", "current_gfxclks", "vram_used"], "N/A")
        self.answer(lambda *_: unknown)


class Nvidia(Amd):
    """NVML is what can fail."""

    def __init__(self, monkeypatch, directory):
        millijoules = itertools.count(5_000, 1_000)
        self.library = ModuleType("pynvml")
        vars(self.library).update(
            nvmlInit=lambda: None,
            nvmlShutdown=lambda: None,
            nvmlDeviceGetHandleByIndex=lambda index: index,
            nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(millijoules),
            nvmlDeviceGetPowerUsage=lambda handle: 412_000,
            nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=3 << 30),
            nvmlDeviceGetTemperature=lambda handle, sensor: 55,
            nvmlDeviceGetClockInfo=lambda handle, clock: 1755,
            nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 0x4,
        )
        self.patch = monkeypatch
        monkeypatch.setitem(sys.modules, "pynvml", self.library)

    def open(self):
        return NvidiaMeter(index=0)

    def answer(self, function):
        for name in vars(self.library).copy():
            if name.startswith("nvmlDeviceGet") and name != "nvmlDeviceGetHandleByIndex":
                self.patch.setattr(self.library, name, function)

    def say_nothing(self):
        self.answer(lambda *_: "N/A")


class Rapl:
    """A file of the kernel is what can fail. It wraps after ten joules."""

    def __init__(self, monkeypatch, directory):
        self.root, self.microjoules = directory, itertools.cycle(range(0, 10_000_000, 3_000_000))
        self.zone = directory / ZONE
        self.zone.mkdir(parents=True)
        (self.zone / "name").write_text("package-0\n")
        (self.zone / "max_energy_range_uj").write_text("10000000\n")
        self.spend()

    def open(self):
        return RaplMeter(root=self.root)

    def spend(self):
        (self.zone / "energy_uj").write_text(f"{next(self.microjoules)}\n")

    def fail(self):
        (self.zone / "energy_uj").unlink()

    def say_nothing(self):
        (self.zone / "energy_uj").write_text("N/A\n")


class Estimate:
    """There is nothing that can fail."""

    def __init__(self, monkeypatch, directory):
        pass

    def open(self):
        return EstimateMeter(find("AMD-Instinct-MI300X-OAM"))


class Fake:
    """A script of five readings, the later ones poorer."""

    def __init__(self, monkeypatch, directory):
        pass

    def open(self):
        return FakeMeter(
            [
                Reading(10.0, energy_j=5.0, power_w=300.0, clock_mhz=1200.0, throttled=False),
                Reading(11.0, energy_j=305.0, power_w=310.0, throttled=True),
                Reading(12.0, energy_j=615.0),
                Reading(13.0),
            ]
        )


RIGS = [Amd, Nvidia, Rapl, Estimate, Fake]
MEASURING = [Amd, Nvidia, Rapl]
READ_FROM_A_LIBRARY = {"energy_j", "power_w", "temperature_c", "clock_mhz", "throttled"}


def refuse(*_):
    raise OSError("the driver is restarting")


@pytest.fixture
def rig(request, monkeypatch, tmp_path):
    return request.param(monkeypatch, tmp_path)


every = pytest.mark.parametrize("rig", RIGS, indirect=True, ids=lambda rig: rig.__name__)
measuring = pytest.mark.parametrize("rig", MEASURING, indirect=True, ids=lambda rig: rig.__name__)


def read(rig, meter, count=5):
    readings = []
    for _ in range(count):
        readings.append(meter.read())
        getattr(rig, "spend", lambda: None)()
    return readings


def known(reading):
    values = {field.name: getattr(reading, field.name) for field in fields(reading)}
    return {name for name, value in values.items() if value is not None} - {"is_estimate"}


@every
def test_it_says_where_readings_come_from_and_whom_they_are_of(rig):
    meter = rig.open()

    assert meter.name in {"amdsmi", "nvml", "rapl", "estimate", "fake"}
    assert meter.num_sharing >= 1


@every
def test_time_never_goes_back(rig):
    times = [reading.time_s for reading in read(rig, rig.open())]

    assert times == sorted(times)


@every
def test_energy_only_grows_also_where_the_counter_wraps(rig):
    joules = [r.energy_j for r in read(rig, rig.open(), count=8) if r.energy_j is not None]

    assert joules == sorted(joules)
    assert all(amount >= 0 for amount in joules)


@every
def test_values_are_in_their_units(rig):
    _, reading = read(rig, rig.open(), count=2)

    assert reading.temperature_c is None or 20 < reading.temperature_c < 120
    assert reading.clock_mhz is None or 100 < reading.clock_mhz < 5000
    assert reading.memory_used_gib is None or 0 < reading.memory_used_gib < 4096
    assert reading.throttled in (None, True, False)


@every
def test_only_an_estimate_calls_itself_one(rig):
    meter = rig.open()

    assert all(reading.is_estimate == (meter.name == "estimate") for reading in read(rig, meter))


@measuring
def test_each_step_of_energy_is_what_was_spent(rig):
    joules = [reading.energy_j for reading in read(rig, rig.open(), count=4)]

    steps = [later - earlier for earlier, later in itertools.pairwise(joules)]
    assert steps == pytest.approx([steps[0]] * 3)
    assert steps[0] in (pytest.approx(1.0), pytest.approx(3.0))


@measuring
def test_a_library_that_fails_halfway_takes_its_values_along_and_nothing_else(rig):
    meter = rig.open()
    before = meter.read()

    rig.fail()
    reading = meter.read()

    assert before.energy_j is not None
    assert reading.time_s >= before.time_s
    assert not known(reading) & READ_FROM_A_LIBRARY


@measuring
def test_what_is_not_available_is_none_and_not_text(rig):
    meter = rig.open()

    rig.say_nothing()

    assert not known(meter.read()) & READ_FROM_A_LIBRARY


@measuring
def test_closing_one_meter_leaves_another_of_the_same_machine_alone(rig):
    one, other = rig.open(), rig.open()

    one.close()

    assert other.read().energy_j is not None


@every
def test_a_closed_meter_gives_the_time_and_nothing_else(rig):
    meter = rig.open()
    read(rig, meter, count=2)

    meter.close()

    assert known(meter.read()) == {"time_s"}


@every
def test_closing_twice_is_closing_once(rig):
    meter = rig.open()

    meter.close()
    meter.close()

    assert meter.read().energy_j is None
