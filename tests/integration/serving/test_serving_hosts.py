"""A host goes, then the head, which comes back: no request to another host fails."""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest
import requests
from pydantic import SecretStr

from raymi.control.head_environment import serving_environment
from raymi.control.ports import choose_ports
from raymi.registry.store import open_store
from raymi.serve import stage
from raymi.serve.applications import ServeClient
from raymi.specs.deploy import DeploySpec
from tests.integration.serving import hosts as network
from tests.integration.serving.hosts import several_hosts
from tests.integration.serving.served_models import Traffic, register_model

WHY_NOT = network.why_not()
pytestmark = [
    pytest.mark.ray,
    pytest.mark.drill,
    pytest.mark.timeout(600),
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]

HEAD, GOES, STAYS = range(3)


@pytest.fixture
def hosts(home, repository, token):
    """Three, whose head writes down what it knows, as `cluster/mi300x.env` has it."""
    directory = Path(tempfile.mkdtemp(prefix="raymi-", dir="/tmp"))  # sockets want short paths
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(repository / "platform"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "OMP_NUM_THREADS": "1",
        "RAY_worker_niceness": "0",
        **serving_environment(
            directory, choose_ports(dashboard=None, serve=None), python=Path(sys.executable)
        ),
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(directory / "gcs"),
    }
    environment.pop("RAY_ADDRESS", None)
    with several_hosts(3, environment=environment, token=token) as found:
        found.start_head()
        yield found
    shutil.rmtree(directory, ignore_errors=True)


def wait_for(condition, what, *, timeout_s=120):
    deadline_s = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(KeyError, requests.RequestException):
            if condition():
                return
        assert time.monotonic() < deadline_s, what
        time.sleep(0.5)


def places(client):
    """Where replicas run."""
    replicas = client.status()["applications"]["animals"]["deployments"]["ModelServer"]["replicas"]
    return {one["node_ip"] for one in replicas if one["state"] == "RUNNING"}


def answers(hosts, host):
    with contextlib.suppress(requests.RequestException):
        url = f"http://{hosts.address(host)}:{hosts.serve_port}/-/healthz"
        return requests.get(url, timeout=5).ok
    return False


def asking(hosts, host, deployment):
    """Traffic to one host."""
    endpoint = f"http://{hosts.address(host)}:{hosts.serve_port}"
    return Traffic(deployment.model_copy(update={"endpoint": endpoint}))


def test_a_host_goes_and_then_the_head_and_no_request_to_another_fails(hosts, home, token):
    hosts.start_worker(GOES)
    hosts.start_worker(STAYS)
    client = ServeClient(hosts.dashboard_url, SecretStr(token))
    reference = register_model(home, seed=1).reference
    deployment = stage.run(
        DeploySpec.from_document({"model": reference, "num_replicas": 2}),
        client=client,
        store=open_store(),
        http_options={"host": "0.0.0.0", "port": hosts.serve_port},  # noqa: S104
    )
    both = {hosts.address(GOES), hosts.address(STAYS)}
    wait_for(lambda: places(client) == both, "a replica on each")
    for host in range(3):
        wait_for(lambda host=host: answers(hosts, host), "every host answers")

    with asking(hosts, HEAD, deployment) as at_head, asking(hosts, STAYS, deployment) as at_other:
        hosts.lose(GOES)
        time.sleep(10)
    with asking(hosts, STAYS, deployment) as meanwhile:
        hosts.lose(HEAD)
        time.sleep(5)
        hosts.reconnect(HEAD)
        hosts.start_head()
        wait_for(lambda: hosts.address(STAYS) in places(client), "the head knows the replica")

    for traffic in (at_head, at_other, meanwhile):
        assert set(traffic.statuses) == {200}
