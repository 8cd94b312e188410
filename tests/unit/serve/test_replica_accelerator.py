"""A replica bounds itself to its share of a device, and says so if the device is not there."""

from types import SimpleNamespace

import pytest
import torch

from raymi.errors import InfeasibleError
from raymi.serve import application, deployment, follower
from raymi.serve.accelerator import settle_accelerators, take_share
from raymi.serve.memory import device_memory
from raymi.serve.rollout.references import FOLLOWS_ROLLOUT
from raymi.specs.deploy import DeploySpec
from tests.unit.serve.rollouts import version

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


def unset():
    return DeploySpec.from_document({"model": "digits@3"})


@pytest.mark.parametrize(("wanted", "most"), [(0.5, 1.0), (1.0, 1.0), (8.0, 8.0), (0.5, None)])
def test_what_a_node_can_give_is_not_refused(wanted, most):
    assert settle_accelerators(wanting(wanted), lambda: most) == wanting(wanted)


def test_a_cluster_is_not_asked_for_accelerators_that_nobody_wants():
    settle_accelerators(wanting(0.0), lambda: pytest.fail("it was asked"))


def test_a_cluster_without_accelerators_is_told_apart_from_one_with_too_few():
    with pytest.raises(InfeasibleError, match="no node of the cluster has any"):
        settle_accelerators(wanting(0.5), lambda: 0.0)
    with pytest.raises(InfeasibleError, match="no node has more than 1"):
        settle_accelerators(wanting(2.0), lambda: 1.0)


@pytest.mark.parametrize(
    ("most", "settled"), [(None, 0.0), (0.0, 0.0), (0.5, 0.0), (1.0, 1.0), (8.0, 1.0)]
)
def test_left_open_a_replica_gets_a_whole_accelerator_where_a_node_has_any(most, settled):
    assert settle_accelerators(unset(), lambda: most) == wanting(settled)


@pytest.mark.parametrize("kept", [0.0, 0.25, 1.0])
def test_left_open_again_it_stays_as_it_was_whatever_nodes_have_come_or_gone(kept):
    settled = settle_accelerators(unset(), lambda: pytest.fail("it was asked"), kept=kept)

    assert settled == wanting(kept)


def test_a_number_is_taken_whatever_was_before():
    assert settle_accelerators(wanting(0.0), lambda: 8.0, kept=1.0) == wanting(0.0)


class SomeBundle:
    """Of which only the network's place matters."""

    precision = None

    def predictor(self, device):
        return device


def start(monkeypatch, accelerators):
    """A replica without models."""
    context = SimpleNamespace(replica_id=SimpleNamespace(unique_id="r"))
    monkeypatch.setattr(deployment.serve, "get_replica_context", lambda: context)
    monkeypatch.setattr(follower, "start_all", lambda *_: None)
    return deployment.ModelServer(wanting(accelerators), {})


@pytest.mark.parametrize(("accelerators", "place"), [(0.0, "cpu"), (0.25, "cuda"), (1.0, "cuda")])
def test_a_replica_is_on_the_device_that_is_reserved_for_it_and_on_no_other(
    monkeypatch, device, accelerators, place
):
    replica = start(monkeypatch, accelerators)

    assert replica._predictor(SomeBundle(), version(1)).type == place
    assert device.bounds == ([(0.25, 0)] if accelerators == 0.25 else [])


def test_a_replica_on_the_cpu_is_not_refused_for_a_device_that_is_full(monkeypatch, tmp_path):
    full = Device(free=0, total=192 * GIB)
    monkeypatch.setattr(torch, "cuda", full)
    loaded = []
    replica = start(monkeypatch, 0.0)
    monkeypatch.setattr(replica, "_load", loaded.append)
    wanted = version(1).model_copy(update={"path": str(tmp_path)})

    replica._load_if_it_fits(wanted)

    assert loaded == [wanted]


def test_an_application_that_is_built_outside_of_a_cluster_is_for_cpus(monkeypatch):
    monkeypatch.setattr(application.ray, "is_initialized", lambda: False)

    built = application.build({"model": f"digits@{FOLLOWS_ROLLOUT}", "access.mode": "open"})

    (spec, _) = built._bound_deployment.init_args
    assert spec.accelerators_per_replica == 0.0
