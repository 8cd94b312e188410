"""What a timing depends on is read from the kernel's files, here copies of a few machines'."""

import pytest

from raymi.accelerators.catalog import CPU, find
from raymi.accelerators.detect import detect
from raymi.accelerators.inventory import DeviceFacts, describe_device, host_partitions
from raymi.accelerators.topology import gfx_name

MI300X, H100 = find("AMD-Instinct-MI300X-OAM"), find("H100")


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(f"{text}\n")


def write_node(root, number, **properties):
    lines = "\n".join(f"{name} {value}" for name, value in properties.items())
    write(root, f"sys/class/kfd/kfd/topology/nodes/{number}/properties", lines)


def write_package(root, *, bus, first_node, card, num_partitions=1):
    for partition in range(num_partitions):
        write_node(
            root,
            first_node + partition,
            simd_count=1216 // num_partitions,
            vendor_id=0x1002,
            device_id=0x74A1,
            gfx_target_version=90402,
            location_id=bus << 8 | partition << 28,
            domain=0,
            max_engine_clk_fcompute=2100,
        )
        bank = f"sys/class/kfd/kfd/topology/nodes/{first_node + partition}/mem_banks/0/properties"
        write(root, bank, f"heap_type 1\nsize_in_bytes {206141652992 // num_partitions}")
    device = f"sys/class/drm/card{card}/device"
    write(root, f"{device}/uevent", f"DRIVER=amdgpu\nPCI_SLOT_NAME=0000:{bus:02x}:00.0")
    is_whole = num_partitions == 1
    write(root, f"{device}/current_compute_partition", "SPX" if is_whole else "CPX")
    write(root, f"{device}/current_memory_partition", "NPS1" if is_whole else "NPS4")
    write(root, f"{device}/hwmon/hwmon{card}/power1_cap", 750_000_000 - card * 1_000_000)


@pytest.fixture
def host(tmp_path):
    """A host with two CPU nodes, one whole MI300X, and one as eight partitions."""
    for node in (0, 1):
        write_node(tmp_path, node, simd_count=0, vendor_id=0, device_id=0)
    write_package(tmp_path, bus=0x05, first_node=2, card=3)
    write_package(tmp_path, bus=0x26, first_node=3, card=1, num_partitions=8)
    write(tmp_path, "sys/module/amdgpu/version", "6.14.14")
    write(tmp_path, "opt/rocm/.info/version", "7.0.2-56")
    write(tmp_path, "proc/sys/kernel/numa_balancing", "1")
    return tmp_path


def test_an_amd_device_is_described_with_its_setting(host):
    assert describe_device(MI300X, index=0, root=host) == DeviceFacts(
        accelerator=MI300X.name,
        bdf="0000:05:00.0",
        partition_id=0,
        gfx_target="gfx942",
        driver_version="6.14.14",
        rocm_version="7.0.2-56",
        compute_partition="SPX",
        memory_partition="NPS1",
        max_clock_mhz=2100,
        power_cap_w=747.0,
        numa_balancing=True,
    )


def test_each_partition_is_a_device_of_its_own_at_the_address_of_its_package(host):
    devices = [describe_device(MI300X, index=index, root=host) for index in range(9)]

    assert len({device.key for device in devices}) == 9
    assert {device.bdf for device in devices[1:]} == {"0000:26:00.0"}
    assert [device.partition_id for device in devices[1:]] == list(range(8))
    assert {(d.compute_partition, d.memory_partition) for d in devices[1:]} == {("CPX", "NPS4")}


def test_a_host_says_how_its_packages_are_divided(host):
    assert [found.sentence for found in host_partitions(host)] == [
        "1 x MI300X in SPX/NPS1: 1 device of 304 CUs, 192 GiB",
        "1 x MI300X in CPX/NPS4: 8 devices of 38 CUs, 24 GiB",
    ]


def test_a_machine_without_such_packages_says_nothing_of_partitions(tmp_path):
    assert host_partitions(tmp_path) == ()


def test_the_tenth_node_comes_after_the_second(host):
    write_package(host, bus=0x46, first_node=11, card=9)

    assert describe_device(MI300X, index=9, root=host).bdf == "0000:46:00.0"
    assert detect(host) is MI300X


def test_a_device_that_is_not_there_has_only_its_machines_facts(host):
    facts = describe_device(MI300X, index=99, root=host)

    assert (facts.bdf, facts.driver_version, facts.numa_balancing) == (None, "6.14.14", True)


def test_an_nvidia_device_is_described_from_the_drivers_files(tmp_path):
    version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build"
    write(tmp_path, "proc/driver/nvidia/version", version)
    for bus in ("19", "3B"):
        path = f"proc/driver/nvidia/gpus/0000:{bus}:00.0/information"
        write(tmp_path, path, f"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t {bus}")

    facts = describe_device(H100, index=1, root=tmp_path)

    assert facts.key == ("0000:3b:00.0", 0)
    assert facts.marketing_name == "NVIDIA H100 80GB HBM3"
    assert facts.driver_version == "570.124.06"


def test_a_cpu_is_described_with_what_sets_its_clock(tmp_path):
    threads = [
        f"processor\t: {thread}\nmodel name\t: AMD EPYC 9654\n"
        f"physical id\t: {thread // 4}\ncore id\t\t: {thread % 2}\npower management:"
        for thread in range(8)
    ]
    write(tmp_path, "proc/cpuinfo", "\n\n".join(threads))
    frequency = "sys/devices/system/cpu/cpu0/cpufreq"
    write(tmp_path, f"{frequency}/cpuinfo_max_freq", 3707812)
    write(tmp_path, f"{frequency}/scaling_governor", "performance")
    write(tmp_path, "proc/sys/kernel/numa_balancing", "0")

    assert describe_device(CPU, index=0, root=tmp_path) == DeviceFacts(
        accelerator="cpu",
        marketing_name="AMD EPYC 9654",
        max_clock_mhz=3707.812,
        governor="performance",
        num_cores=4,
        numa_balancing=False,
    )


@pytest.mark.parametrize("accelerator", [MI300X, H100, CPU], ids=lambda a: a.name)
def test_a_machine_that_says_nothing_has_a_device_without_facts(tmp_path, accelerator):
    facts = describe_device(accelerator, index=0, root=tmp_path)

    assert facts == DeviceFacts(accelerator=accelerator.name)


@pytest.mark.parametrize(
    ("version", "name"),
    [(90402, "gfx942"), (90500, "gfx950"), (90010, "gfx90a"), (90008, "gfx908")],
)
def test_the_kernels_numbers_are_the_compilers_targets(version, name):
    assert gfx_name(version) == name


def test_facts_are_a_document(host, tmp_path_factory):
    path = tmp_path_factory.mktemp("facts") / "device.json"
    facts = describe_device(MI300X, index=0, root=host)

    facts.save(path)

    assert DeviceFacts.load(path) == facts
