"""A replica bounds itself to its share of a device, and says so if the device is not there."""

import pytest
import torch

from raymi.errors import InfeasibleError
from raymi.serve.accelerator import require_a_node, take_share
from raymi.serve.memory import device_memory
from raymi.specs.deploy import DeploySpec

GIB = 1 << 30


class Device:
    """What torch says of one device, and what it was told."""

    def __init__(self, *, free, total, reserved=0, allocated=0):
        self.mem_get_info = lambda: (free, total)
        self.memory_reserved = lambda: reserved
        self.memory_allocated = lambda: allocated
        self.current_device = lambda: 0
        self.is_available = lambda: True
        self.bounds = []
        self.set_per_process_memory_fraction = lambda *bound: self.bounds.append(bound)


@pytest.fixture
def device(monkeypatch):
    found = Device(free=150 * GIB, total=192 * GIB, reserved=6 * GIB, allocated=4 * GIB)
    monkeypatch.setattr(torch, "cuda", found)
    return found


def wanting(accelerators):
    return DeploySpec.from_document({"model": "digits@3", "accelerators_per_replica": accelerators})


def test_a_share_bounds_the_allocator_of_the_device_in_use(device):
    take_share(0.25)

    assert device.bounds == [(0.25, 0)]


def test_a_whole_device_is_not_bounded(device):
    take_share(1.0)

    assert device.bounds == []


def test_a_replica_does_not_compute_on_the_cpu_instead_of_its_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(InfeasibleError, match=r"reserved an accelerator .* and it finds none"):
        take_share(0.5)


def test_what_is_free_for_a_replica_is_the_rest_of_its_share(device):
    quarter = device_memory(0.25)

    assert (quarter.free_bytes, quarter.total_bytes) == (44 * GIB, 48 * GIB)


def test_what_is_free_for_a_replica_alone_is_what_is_free_or_its_own(device):
    assert device_memory() == device_memory(1.0)
    assert device_memory().free_bytes == 152 * GIB


@pytest.mark.parametrize(("wanted", "most"), [(0.5, 1.0), (1.0, 1.0), (8.0, 8.0), (0.5, None)])
def test_what_a_node_can_give_is_not_refused(wanted, most):
    require_a_node(wanting(wanted), lambda: most)


def test_a_cluster_is_not_asked_for_accelerators_that_nobody_wants():
    require_a_node(wanting(0.0), lambda: pytest.fail("it was asked"))


def test_a_cluster_without_accelerators_is_told_apart_from_one_with_too_few():
    with pytest.raises(InfeasibleError, match="no node of the cluster has any"):
        require_a_node(wanting(0.5), lambda: 0.0)
    with pytest.raises(InfeasibleError, match="no node has more than 1"):
        require_a_node(wanting(2.0), lambda: 1.0)
