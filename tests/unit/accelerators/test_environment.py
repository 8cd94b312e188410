"""What AMD workers need in their environment, and which devices they see through it."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.accelerators.amd_variables import AMD, BY_HAND, CACHES, Need
from raymi.accelerators.catalog import CPU, find
from raymi.accelerators.environment import (
    apply_environment,
    check_visible_devices,
    machine_index,
    recorded_environment,
    worker_environment,
)
from raymi.errors import ConflictError
from raymi.specs.precision import Precision

MI300X, H100 = find("AMD-Instinct-MI300X-OAM"), find("H100")
NOSET = "RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES"
ENV_FILE = Path(__file__).parents[3] / "cluster" / "mi300x.env"


def start_device(monkeypatch, *, is_initialized):
    cuda = SimpleNamespace(is_initialized=lambda: is_initialized)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


def test_amd_workers_see_the_devices_that_ray_train_gives_them():
    assert worker_environment(MI300X)[NOSET] == "1"


@pytest.mark.parametrize("accelerator", [CPU, H100], ids=lambda a: a.name)
def test_other_workers_need_nothing(accelerator, tmp_path):
    assert worker_environment(accelerator, num_workers=8, cache_dir=tmp_path) == {}


@pytest.mark.parametrize(
    ("num_workers", "channels"), [(1, None), (2, "32"), (7, "32"), (8, "112"), (16, None)]
)
def test_collectives_get_the_channels_amd_advises_for_their_size(num_workers, channels):
    environment = worker_environment(MI300X, num_workers=num_workers)

    assert environment.get("NCCL_MIN_NCHANNELS") == channels
    assert ("TORCH_NCCL_HIGH_PRIORITY" in environment) == (num_workers > 1)


@pytest.mark.parametrize("precision", [None, *Precision])
def test_only_a_run_in_tf32_lets_hipblaslt_use_it(precision):
    environment = worker_environment(MI300X, precision=precision)

    assert ("HIPBLASLT_ALLOW_TF32" in environment) == (precision is Precision.TF32)


def test_kernels_are_cached_below_the_directory_of_the_run(tmp_path):
    environment = worker_environment(MI300X, cache_dir=tmp_path / "run-1")

    assert {name: environment[name] for name in CACHES} == {
        name: f"{tmp_path}/run-1/{below}" for name, below in CACHES.items()
    }


@pytest.mark.parametrize("variable", AMD, ids=lambda v: f"{v.name}={v.value}")
def test_every_variable_has_a_reason_and_a_source(variable):
    assert len(variable.why) > 10
    assert len(variable.source) > 5


def test_nothing_is_both_set_and_left_to_others():
    assert not {variable.name for variable in AMD} & (set(BY_HAND) | set(CACHES))


def test_the_hosts_file_has_what_every_process_needs_with_the_same_values():
    hosts = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", ENV_FILE.read_text(), re.MULTILINE))
    always = {v.name: v.value for v in AMD if v.need is Need.ALWAYS}
    conditional = {v.name for v in AMD} - set(always)

    assert {name: hosts.get(name) for name in always} == always
    assert set(CACHES) <= set(hosts)
    assert not {"HIPBLASLT_ALLOW_TF32", "NCCL_MIN_NCHANNELS", NOSET} & set(hosts) & conditional


def test_a_process_of_torchrun_sets_its_own_environment_but_nothing_of_rays(tmp_path):
    environ: dict[str, str] = {}

    was_set = apply_environment(MI300X, num_workers=8, cache_dir=tmp_path, environ=environ)

    assert environ == was_set
    assert environ["NCCL_MIN_NCHANNELS"] == "112"
    assert NOSET not in environ


def test_what_somebody_set_stays():
    environ = {"GPU_MAX_HW_QUEUES": "4"}

    was_set = apply_environment(MI300X, environ=environ)

    assert environ["GPU_MAX_HW_QUEUES"] == "4"
    assert "GPU_MAX_HW_QUEUES" not in was_set


def test_a_device_in_use_is_too_late(monkeypatch):
    environ: dict[str, str] = {}
    start_device(monkeypatch, is_initialized=True)

    with pytest.raises(ConflictError, match="GPU_MAX_HW_QUEUES"):
        apply_environment(MI300X, environ=environ)

    assert environ == {}


def test_a_device_in_use_does_not_matter_when_everything_is_set(monkeypatch):
    environ: dict[str, str] = {}
    start_device(monkeypatch, is_initialized=False)
    apply_environment(MI300X, environ=environ)

    start_device(monkeypatch, is_initialized=True)

    assert apply_environment(MI300X, environ=environ) == {}
    assert apply_environment(CPU, environ=environ) == {}


def test_what_changes_a_timing_is_recorded_whoever_set_it():
    environ = {"GPU_MAX_HW_QUEUES": "4", "NCCL_ALGO": "Ring", "HOME": "/root"}

    assert recorded_environment(environ) == {"GPU_MAX_HW_QUEUES": "4", "NCCL_ALGO": "Ring"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"HIP_VISIBLE_DEVICES": "3"},
        {"CUDA_VISIBLE_DEVICES": "0,1"},
        {"HIP_VISIBLE_DEVICES": "0,1", "CUDA_VISIBLE_DEVICES": "0,1"},
        {"HIP_VISIBLE_DEVICES": "", "CUDA_VISIBLE_DEVICES": "0,1"},
        {"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "0"},
    ],
)
def test_variables_that_agree_are_accepted(environ):
    check_visible_devices(environ)


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"HIP_VISIBLE_DEVICES": "1", "CUDA_VISIBLE_DEVICES": "0,1"}, "=1 contradicts"),
        ({"HIP_VISIBLE_DEVICES": "1,0", "CUDA_VISIBLE_DEVICES": "0,1"}, "=1,0 contradicts"),
        ({"ROCR_VISIBLE_DEVICES": "0"}, "without HIP_VISIBLE_DEVICES"),
        ({"ROCR_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "0"}, "without HIP_VISIBLE"),
    ],
)
def test_variables_that_contradict_each_other_are_refused(environ, complaint):
    with pytest.raises(ConflictError, match=complaint):
        check_visible_devices(environ)


@pytest.mark.parametrize(
    ("environ", "index", "expected"),
    [
        ({}, 3, 3),
        ({"CUDA_VISIBLE_DEVICES": "4,5"}, 1, 5),
        ({"HIP_VISIBLE_DEVICES": "6", "CUDA_VISIBLE_DEVICES": "4,5"}, 0, 6),
        ({"HIP_VISIBLE_DEVICES": "", "CUDA_VISIBLE_DEVICES": "4,5"}, 1, 5),
        ({"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "1"}, 0, 3),
        ({"CUDA_VISIBLE_DEVICES": "4,5"}, 2, None),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0, None),
        ({"ROCR_VISIBLE_DEVICES": "GPU-8d2f"}, 0, None),
    ],
)
def test_the_device_a_process_has_is_traced_to_the_machines(environ, index, expected):
    assert machine_index(MI300X, index, environ) == expected


def test_an_nvidia_device_does_not_listen_to_amds_variables():
    environ = {"HIP_VISIBLE_DEVICES": "6", "ROCR_VISIBLE_DEVICES": "7"}

    assert machine_index(H100, 0, environ) == 0


@given(st.permutations(range(8)), st.permutations(range(8)), st.integers(0, 7))
def test_rocr_renumbers_what_hip_chooses_from(rocr, hip, index):
    environ = {
        "ROCR_VISIBLE_DEVICES": ",".join(map(str, rocr)),
        "HIP_VISIBLE_DEVICES": ",".join(map(str, hip)),
    }

    assert machine_index(MI300X, index, environ) == rocr[hip[index]]
