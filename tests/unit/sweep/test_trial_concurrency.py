"""As many trials run at once as fit together, so that none waits for another's workers."""

import pytest

from raymi.accelerators.catalog import CPU, find
from raymi.specs.batch import BatchSpec
from raymi.specs.data import DataSpec
from raymi.specs.resources import ResourceSpec
from raymi.specs.train import TrainSpec
from raymi.sweep.concurrency import TRIAL_RESOURCES, max_concurrent_trials

MI300X = find("AMD-Instinct-MI300X-OAM")
RACK = [{"CPU": 96.0, "GPU": 8.0}] * 3


def run(num_workers: int) -> TrainSpec:
    return TrainSpec(
        name="x",
        problem="p",
        data=DataSpec(name="d"),
        batch=BatchSpec(global_batch_size=64, micro_batch_size=1),
        resources=ResourceSpec(num_workers=num_workers),
    )


def test_two_workers_on_two_cpus_run_one_trial_at_a_time():
    assert max_concurrent_trials([run(2)] * 4, CPU, [{"CPU": 2.0}], limit=None) == 1


def test_the_driver_of_a_trial_takes_no_cpu_from_its_workers():
    assert TRIAL_RESOURCES["cpu"] == 0


@pytest.mark.parametrize(("num_workers", "expected"), [(1, 24), (8, 3), (16, 1)])
def test_accelerators_decide_on_a_rack(num_workers, expected):
    assert max_concurrent_trials([run(num_workers)], MI300X, RACK, limit=None) == expected


def test_the_largest_trial_decides_for_all():
    assert max_concurrent_trials([run(1), run(16)], MI300X, RACK, limit=None) == 1


def test_a_limit_is_a_limit():
    assert max_concurrent_trials([run(1)], MI300X, RACK, limit=4) == 4
