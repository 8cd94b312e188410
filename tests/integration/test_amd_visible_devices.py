"""Which devices AMD workers of Ray Train see, on a cluster that believes to have two MI300X.

A stub of `amdsmi` makes Ray believe it; nothing here runs on a GPU. What is shown is Ray's own
handling of variables, and that ours makes rank and device belong together.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from raymi.accelerators.catalog import find
from raymi.accelerators.environment import check_visible_devices, machine_index, worker_environment
from raymi.errors import ConflictError
from tests.integration.conftest import running_head

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

MI300X = find("AMD-Instinct-MI300X-OAM")
VISIBLE = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


@pytest.fixture(scope="module")
def cluster(home, repository, token):
    """A head that finds its GPUs by itself, through the stub."""
    paths = [repository / "tests" / "stubs", repository / "platform", repository]
    stub = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "AMDSMI_STUB_NUM_GPUS": "2"}
    with pytest.MonkeyPatch.context() as patch:
        for name in VISIBLE:
            patch.delenv(name, raising=False)
        with running_head(repository, token, num_cpus=4, variables=stub) as head:
            yield head


@pytest.fixture(scope="module")
def ray(job):
    """Ray, connected to that cluster."""
    import ray

    job.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    ray.init(log_to_driver=False)
    return ray


def report(config):
    """What a worker of Ray Train writes down about its devices."""
    import ray
    from ray import train

    rank = train.get_context().get_world_rank()
    seen = {name: os.environ[name] for name in config["names"] if name in os.environ}
    seen["ids"] = [str(one) for one in ray.get_gpu_ids()]
    seen["index"] = train.torch.get_device().index
    Path(config["directory"], f"{rank}.json").write_text(json.dumps(seen))


def train_two_workers(directory, variables):
    """Start two workers with a GPU each; return what each of them saw, by rank."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    TorchTrainer(
        report,
        train_loop_config={"directory": str(directory), "names": VISIBLE},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=2, use_gpu=True, accelerator_type=MI300X.name),
        run_config=RunConfig(
            name="ray", storage_path=str(directory), worker_runtime_env={"env_vars": variables}
        ),
    ).fit()
    return [json.loads((directory / f"{rank}.json").read_text()) for rank in range(2)]


def machines(seen):
    """The device on which a worker would compute, by the machine's numbers."""
    return str(machine_index(MI300X, seen["index"], seen))


def test_ray_finds_the_devices_and_names_them_as_the_catalogue_does(ray):
    resources = ray.cluster_resources()

    assert resources["GPU"] == 2
    assert resources[f"accelerator_type:{MI300X.name}"] == 1


def test_a_task_sees_its_own_device_and_no_other(ray):
    @ray.remote(num_gpus=1)
    def look():
        return [str(one) for one in ray.get_gpu_ids()], dict(os.environ)

    ids, environ = ray.get(look.remote())

    assert environ["HIP_VISIBLE_DEVICES"].split(",") == ids
    check_visible_devices(environ)


def test_without_our_variables_rank_one_asks_for_a_device_that_it_cannot_see(ray, tmp_path):
    workers = train_two_workers(tmp_path, {})

    assert [worker["CUDA_VISIBLE_DEVICES"] for worker in workers] == ["0,1", "0,1"]
    assert [worker["HIP_VISIBLE_DEVICES"].split(",") for worker in workers] == [
        worker["ids"] for worker in workers
    ]
    [second] = [worker for worker in workers if worker["index"] == 1]
    assert machine_index(MI300X, 1, second) is None
    for worker in workers:
        with pytest.raises(ConflictError, match="contradicts CUDA_VISIBLE_DEVICES=0,1"):
            check_visible_devices(worker)


def test_with_our_variables_each_rank_computes_on_the_device_ray_gave_it(ray, tmp_path):
    workers = train_two_workers(tmp_path, worker_environment(MI300X, num_workers=2))

    assert all("HIP_VISIBLE_DEVICES" not in worker for worker in workers)
    assert [[machines(worker)] for worker in workers] == [worker["ids"] for worker in workers]
    assert sorted(machines(worker) for worker in workers) == ["0", "1"]
    for worker in workers:
        check_visible_devices(worker)


def test_without_amdsmi_in_the_workers_it_is_as_on_nvidia(ray, repository, tmp_path):
    without_the_stub = {"PYTHONPATH": os.pathsep.join([f"{repository}/platform", str(repository)])}

    workers = train_two_workers(tmp_path, without_the_stub)

    assert all("HIP_VISIBLE_DEVICES" not in worker for worker in workers)
    assert [[machines(worker)] for worker in workers] == [worker["ids"] for worker in workers]
    for worker in workers:
        check_visible_devices(worker)


def test_rays_own_refusal_of_rocr_is_foreseen(monkeypatch):
    from ray._private.accelerators.amd_gpu import AMDGPUAcceleratorManager

    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "0,1")

    with pytest.raises(RuntimeError, match="instead of ROCR_VISIBLE_DEVICES"):
        AMDGPUAcceleratorManager.get_visible_accelerator_ids_env_var()
    with pytest.raises(ConflictError, match="ROCR_VISIBLE_DEVICES=0,1"):
        check_visible_devices(os.environ)
