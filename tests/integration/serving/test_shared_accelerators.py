"""Ray places replicas by fractions of a GPU; the GPU of this head is a number, and no device.

So what is tried here is Ray's counting, and what a replica says that finds no device. No model
computes on a shared device.
"""

from __future__ import annotations

import pytest
import torch

from raymi.errors import DeploymentError, InfeasibleError
from raymi.serve.applications import ServeClient
from raymi.serve.plan import replica_resources
from raymi.specs.deploy import DeploySpec
from tests.integration.conftest import running_head
from tests.integration.serving.served_models import deploy, register_model

pytestmark = [
    pytest.mark.ray,
    pytest.mark.drill,
    pytest.mark.timeout(600),
    pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU must be missing"),
]


@pytest.fixture(scope="module")
def cluster(home, repository, token):
    with running_head(repository, token, num_cpus=4, num_gpus=1) as head:
        yield head


@pytest.fixture(scope="module")
def client(cluster):
    from pydantic import SecretStr

    return ServeClient(cluster.dashboard_url, SecretStr(cluster.token))


def test_two_halves_run_at_once_and_a_third_waits(job):
    import ray

    class Place:
        def where(self):
            return ray.get_gpu_ids()

    ray.init(log_to_driver=False)
    spec = DeploySpec.from_document({"model": "animals@1", "accelerators_per_replica": 0.5})
    replica = ray.remote(Place).options(**replica_resources(spec))

    actors = {(actor := replica.remote()).where.remote(): actor for _ in range(3)}

    # Ray does not say in which order it places them.
    placed, [waiting] = ray.wait(list(actors), num_returns=2, timeout=60)
    assert ray.get(placed) == [[0], [0]]
    assert ray.wait([waiting], timeout=2) == ([], [waiting])
    ray.kill(actors[placed[0]])
    assert ray.get(waiting, timeout=60) == [0]
    for answer in (placed[1], waiting):
        ray.kill(actors[answer])


def test_more_than_any_node_has_is_refused_before_anything_is_deployed(client, cluster, home):
    register_model(home, seed=1)

    with pytest.raises(InfeasibleError, match="no node has more than 1"):
        deploy(client, cluster, model="animals@1", accelerators_per_replica=2)
    assert client.status().get("applications", {}) == {}


def test_a_replica_that_finds_no_device_says_so_and_does_not_start(client, cluster):
    with pytest.raises(DeploymentError, match=r"reserved an accelerator .* and it finds none"):
        deploy(client, cluster, model="animals@1", accelerators_per_replica=0.5)
