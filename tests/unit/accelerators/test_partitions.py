"""How MI300 packages can be divided, and how a host's are, told from what its devices report."""

import pytest

from raymi.accelerators.catalog import find
from raymi.accelerators.partitions import (
    PACKAGES,
    SeenDevice,
    partitionings,
    recognise,
)

GIB = 1 << 30
MI300A, MI300X, MI325X = (
    "AMD-Instinct-MI300A",
    "AMD-Instinct-MI300X-OAM",
    "AMD-Instinct-MI325X-OAM",
)
WHOLE = {MI300A: (228, 128), MI300X: (304, 192), MI325X: (304, 256)}
"""Compute units and GiB of a package, from AMD's specifications."""

MODES = [
    # compute, memory, devices, CUs, GiB of each: of one MI300X, from AMD's partitioning guides
    ("SPX", "NPS1", 1, 304, 192),
    ("DPX", "NPS1", 2, 152, 96),
    ("DPX", "NPS2", 2, 152, 96),
    ("QPX", "NPS1", 4, 76, 48),
    ("QPX", "NPS4", 4, 76, 48),
    ("CPX", "NPS1", 8, 38, 24),
    ("CPX", "NPS4", 8, 38, 24),
]


@pytest.mark.parametrize("name", PACKAGES)
def test_the_devices_of_a_package_are_together_the_whole_package(name):
    package = PACKAGES[name]
    units, gib = WHOLE.get(name, WHOLE[MI300X])

    for one in partitionings(package):
        assert one.num_devices * one.xcds_per_device == package.num_xcds
        assert one.num_devices * one.compute_units_per_device == units
        assert one.num_devices * one.memory_gib_per_device == gib


@pytest.mark.parametrize("name", PACKAGES)
def test_there_are_never_more_memory_domains_than_devices(name):
    for one in partitionings(PACKAGES[name]):
        assert int(one.memory.removeprefix("NPS")) <= one.num_devices


def test_every_package_is_a_known_accelerator():
    assert {find(name).architecture for name in PACKAGES} == {"gfx942"}


def test_these_are_the_ways_to_divide_an_mi300x():
    found = [
        (p.compute, p.memory, p.num_devices, p.compute_units_per_device, p.memory_gib_per_device)
        for p in partitionings(PACKAGES[MI300X])
    ]

    assert found == MODES


def test_an_apu_has_six_dies_and_is_divided_by_three_or_six():
    found = {p.compute: p.compute_units_per_device for p in partitionings(PACKAGES[MI300A])}

    assert found == {"SPX": 228, "TPX": 76, "CPX": 38}


@pytest.mark.parametrize(("compute", "memory", "num", "units", "gib"), MODES)
def test_a_host_of_eight_is_recognised_in_each_mode(compute, memory, num, units, gib):
    device = SeenDevice(MI300X, units, int(gib * GIB * 0.99), memory)

    [found] = recognise([device] * (8 * num))

    assert (found.compute, found.memory, found.num_packages) == (compute, memory, 8)
    assert found.sentence == (
        f"8 x MI300X in {compute}/{memory}: {8 * num} devices of {units} CUs, {gib} GiB"
    )


def test_a_share_of_the_memory_does_not_tell_how_the_memory_is_divided():
    [found] = recognise([SeenDevice(MI300X, 38, 24 * GIB)] * 8)

    assert (found.compute, found.memory) == ("CPX", None)
    assert found.sentence == "1 x MI300X in CPX: 8 devices of 38 CUs, 24 GiB"


@pytest.mark.parametrize(("gib", "memory"), [(192, "NPS1"), (48, "NPS4")])
def test_a_small_device_that_reports_a_whole_domain_tells_its_size(gib, memory):
    [found] = recognise([SeenDevice(MI300X, 38, gib * GIB)] * 8)

    assert (found.compute, found.memory) == ("CPX", memory)


def test_compute_units_alone_tell_the_compute_partition():
    [found] = recognise([SeenDevice(MI325X, 152)] * 2)

    assert (found.package, found.compute, found.memory_gib_per_device) == ("MI325X", "DPX", 128)


def test_where_a_package_is_seen_in_part_its_packages_are_not_counted():
    [found] = recognise([SeenDevice(MI300X, 38, None, "NPS4")] * 3)

    assert found.num_packages is None
    assert found.sentence == "part of MI300X in CPX/NPS4: 3 devices of 38 CUs, 24 GiB"


def test_packages_that_are_divided_differently_are_told_apart():
    devices = [SeenDevice(MI300X, 304), *[SeenDevice(MI300X, 38, None, "NPS4")] * 8]

    assert [found.sentence for found in recognise(devices)] == [
        "1 x MI300X in SPX/NPS1: 1 device of 304 CUs, 192 GiB",
        "1 x MI300X in CPX/NPS4: 8 devices of 38 CUs, 24 GiB",
    ]


@pytest.mark.parametrize(
    "device",
    [
        SeenDevice("H100", 132, 80 * GIB),
        SeenDevice("AMD-Instinct-MI308X-OAM", 80, 192 * GIB),
        SeenDevice(MI300X, 100),
        SeenDevice(MI300X, 38, 24 * GIB, "NPS8"),
        SeenDevice(MI300X, 304, 24 * GIB),
        SeenDevice(MI300X, 38, 192 * GIB, "NPS4"),
    ],
    ids=["not AMD", "other dies", "no such part", "no such mode", "too little", "too much"],
)
def test_what_fits_no_mode_is_not_guessed(device):
    assert recognise([device] * 8) == ()


def test_an_apus_memory_is_a_setting_and_says_nothing():
    [found] = recognise([SeenDevice(MI300A, 76, 500 * GIB)] * 12)

    assert (found.compute, found.num_packages) == ("TPX", 4)


def test_small_devices_are_not_for_data_parallel_training():
    [whole] = recognise([SeenDevice(MI300X, 304)])
    [small] = recognise([SeenDevice(MI300X, 38)] * 8)

    assert "accelerators_per_replica" in whole.advice
    assert "never one data-parallel run" in small.advice
