"""What cannot run here is refused before anything starts, with what there is instead."""

import pytest

from raymi.accelerators.catalog import CPU, find
from raymi.errors import CapabilityError, InfeasibleError
from raymi.specs.resources import ResourceSpec
from raymi.train.admission import num_groups_that_fit, require_room, resolve_accelerator

MI300X = "AMD-Instinct-MI300X-OAM"
LAPTOP = [{"CPU": 2.0}]
RACK = [{"CPU": 96.0, "GPU": 8.0, f"accelerator_type:{MI300X}": 1.0}] * 2


def test_auto_is_the_cpu_where_there_is_nothing_else():
    assert resolve_accelerator("auto", LAPTOP) is CPU


def test_auto_is_what_the_nodes_have():
    assert resolve_accelerator("auto", RACK).name == MI300X


def test_a_cluster_with_accelerators_can_still_train_on_its_cpus():
    assert resolve_accelerator("cpu", RACK) is CPU


def test_an_accelerator_that_no_node_has_is_refused():
    with pytest.raises(InfeasibleError, match="CPUs only"):
        resolve_accelerator(MI300X, LAPTOP)


def test_an_accelerator_that_nobody_knows_is_refused_with_the_nearest():
    with pytest.raises(CapabilityError, match=MI300X):
        resolve_accelerator("AMD-Instinct-MI300X", LAPTOP)


@pytest.mark.parametrize(
    ("workers", "cpus", "groups"), [(1, 1, 2), (2, 1, 1), (1, 2, 1), (2, 2, 0), (3, 1, 0)]
)
def test_groups_are_counted_in_whole_workers(workers, cpus, groups):
    spec = ResourceSpec(num_workers=workers, cpus_per_worker=cpus)

    assert num_groups_that_fit(spec, CPU, LAPTOP) == groups


def test_a_worker_is_never_split_over_two_nodes():
    spec = ResourceSpec(num_workers=1, cpus_per_worker=2)

    assert num_groups_that_fit(spec, CPU, [{"CPU": 1.0}, {"CPU": 1.0}]) == 0


def test_accelerators_bound_the_groups_too():
    spec = ResourceSpec(num_workers=8)

    assert num_groups_that_fit(spec, find(MI300X), RACK) == 2


def test_a_group_that_can_never_be_placed_is_refused_with_what_there_is():
    with pytest.raises(InfeasibleError, match="2 CPU"):
        require_room(ResourceSpec(num_workers=4), CPU, LAPTOP)
