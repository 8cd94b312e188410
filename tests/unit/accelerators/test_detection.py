"""The accelerator is told from the kernel's files, and each is only asked for what it can do."""

from pathlib import Path

import pytest

from raymi.accelerators.catalog import CATALOG, CPU, Float8Format, find, require_precision
from raymi.accelerators.detect import detect, resolve
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
        ("cpu", Precision.BF16_PURE, True),
        ("V100", Precision.BF16_PURE, False),
        (MI300X, Precision.FP8, True),
        ("AMD-Instinct-MI355X-OAM", Precision.FP8, True),
        ("AMD-Instinct-MI250X", Precision.FP8, False),
        ("L40S", Precision.FP8, True),
        ("A100", Precision.FP8, False),
        ("cpu", Precision.FP8, False),
    ],
)
def test_capabilities_follow_the_hardware(name, precision, is_able):
    if is_able:
        require_precision(find(name), precision)
    else:
        with pytest.raises(CapabilityError, match=precision.value):
            require_precision(find(name), precision)


@pytest.mark.parametrize("accelerator", CATALOG.values(), ids=lambda a: a.name)
def test_what_multiplies_fp8_says_in_which_format(accelerator):
    assert (accelerator.float8 is not None) == (Precision.FP8 in accelerator.precisions)


@pytest.mark.parametrize("accelerator", CATALOG.values(), ids=lambda a: a.name)
def test_only_gfx942_multiplies_the_format_that_ends_at_240(accelerator):
    is_fnuz = accelerator.float8 is Float8Format.FNUZ

    assert is_fnuz == (accelerator.architecture == "gfx942")


@pytest.mark.parametrize("accelerator", CATALOG.values(), ids=lambda a: a.name)
def test_pure_bf16_needs_what_bf16_needs(accelerator):
    both = {Precision.BF16, Precision.BF16_PURE}

    assert accelerator.precisions & both in (both, set())


@pytest.mark.parametrize(
    ("name", "precision", "why"),
    [
        ("cpu", Precision.FP8, "CPUs have no fp8 matrix instructions"),
        ("AMD-Instinct-MI250X", Precision.FP8, "gfx90a has no fp8 matrix instructions"),
        ("AMD-Instinct-MI355X-OAM", Precision.TF32, "gfx950 has no tf32 matrix instructions"),
        ("V100", Precision.BF16_PURE, "sm_70 has no bf16 matrix instructions"),
    ],
)
def test_a_refusal_names_the_missing_instructions_and_what_works(name, precision, why):
    with pytest.raises(CapabilityError) as refused:
        require_precision(find(name), precision)

    assert refused.value.what == f"precision: {precision.value} cannot be used on {name}"
    assert refused.value.why == why
    assert "fp32" in refused.value.fix


def test_a_name_means_itself_and_auto_what_is_there():
    assert resolve("AMD-Instinct-MI300X-OAM").architecture == "gfx942"
    assert resolve("auto") == detect()
