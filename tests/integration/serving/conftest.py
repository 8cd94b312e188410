"""A head that serves as Raymi's own do, and a model that is deployed there."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from pydantic import SecretStr

from raymi.control.head_environment import serving_environment
from raymi.control.ports import choose_ports
from raymi.registry.store import open_store
from raymi.serve.applications import ServeClient
from tests.integration.conftest import running_head
from tests.integration.serving.served_models import (
    deploy,
    register_model,
)


@pytest.fixture(scope="module")
def cluster(home, repository, token):
    """A head that serves as Raymi's own do, with HAProxy in front."""
    directory = Path(tempfile.mkdtemp(prefix="raymi-", dir="/tmp"))  # sockets want short paths
    ports = choose_ports(dashboard=None, serve=None)
    variables = serving_environment(directory, ports, python=Path(sys.executable))
    with running_head(repository, token, num_cpus=2, variables=variables) as head:
        yield head
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def client(cluster):
    return ServeClient(cluster.dashboard_url, SecretStr(cluster.token))


@pytest.fixture(scope="module")
def first(home):
    version = register_model(home, seed=1)
    return open_store().promote("animals", version.version, by="tests", reason="first")


@pytest.fixture(scope="module")
def deployment(client, cluster, first):
    return deploy(client, cluster, model="animals@champion")
