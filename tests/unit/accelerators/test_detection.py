"""The accelerator is told from the kernel's files, and each is only asked for what it can do."""

from pathlib import Path

import pytest

from raymi.accelerators.catalog import CATALOG, CPU, find, require_precision
from raymi.accelerators.detect import detect
from raymi.accelerators.environment import worker_environment
from raymi.errors import CapabilityError
from raymi.specs.precision import Precision

MI300X = "AMD-Instinct-MI300X-OAM"


def write_kfd(root: Path, *nodes: dict[str, int]) -> None:
    for index, node in enumerate(nodes):
        directory = root / "sys/class/kfd/kfd/topology/nodes" / str(index)
        directory.mkdir(parents=True)
        lines = "".join(f"{key} {value}\n" for key, value in node.items())
        (directory / "properties").write_text(lines)


def write_nvidia(root: Path, model: str) -> None:
    directory = root / "proc/driver/nvidia/gpus/0000:00:1e.0"
    directory.mkdir(parents=True)
    (directory / "information").write_text(f"Model: \t\t {model}\nIRQ: 10\n")


@pytest.mark.parametrize(("device_id", "name"), [(0x74A1, MI300X), (0x74B5, MI300X)])
def test_an_mi300x_is_found_behind_the_cpu_node_also_as_a_virtual_function(
    tmp_path, device_id, name
):
    gpu = {"simd_count": 1216, "vendor_id": 0x1002, "device_id": device_id}
    write_kfd(tmp_path, {"simd_count": 0, "vendor_id": 0, "device_id": 0}, gpu)

    assert detect(tmp_path).name == name


@pytest.mark.parametrize(
    ("model", "name"),
    [("NVIDIA H100 80GB HBM3", "H100"), ("NVIDIA GH200 480GB", "GH200"), ("NVIDIA A10G", "A10G")],
)
def test_an_nvidia_device_is_named_as_ray_does(tmp_path, model, name):
    write_nvidia(tmp_path, model)

    assert detect(tmp_path).name == name


def test_a_machine_without_either_is_a_cpu(tmp_path):
    assert detect(tmp_path) is CPU


@pytest.mark.parametrize(
    ("name", "precision", "is_able"),
    [
        ("cpu", Precision.BF16, True),
        ("cpu", Precision.TF32, False),
        (MI300X, Precision.TF32, True),
        ("AMD-Instinct-MI355X-OAM", Precision.TF32, False),
        ("V100", Precision.BF16, False),
        ("H200", Precision.FP16, True),
    ],
)
def test_capabilities_follow_the_hardware(name, precision, is_able):
    if is_able:
        require_precision(find(name), precision)
    else:
        with pytest.raises(CapabilityError, match=precision.value):
            require_precision(find(name), precision)


@pytest.mark.parametrize("name", CATALOG)
def test_fp8_is_refused_everywhere_with_the_reason(name):
    with pytest.raises(CapabilityError, match="fp8"):
        require_precision(find(name), Precision.FP8)


def test_amd_workers_see_the_devices_that_ray_train_gives_them():
    environment = worker_environment(find(MI300X))

    assert environment["RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES"] == "1"


def test_other_workers_need_nothing():
    assert worker_environment(CPU) == {}
