"""`raymi rollout` says how many replicas there are, and should be, as `raymi deployments` does."""

import json

import pytest
from typer.testing import CliRunner

from raymi.cli import serving
from raymi.cli.main import app
from raymi.errors import UnreachableError
from raymi.serve.rollout.files import RolloutFiles
from raymi.settings import settings
from tests.unit.serve.rollouts import serving as first_rollout
from tests.unit.serve.test_serve_applications import Dashboard, client_of


class OfThree(Dashboard):
    """Serve, with one of three replicas running so far."""

    def _shown(self, application, state):
        shown = super()._shown(application, state)
        replicas = [{"state": "RUNNING", "replica_id": "a"}, {"state": "STARTING"}]
        shown["deployments"]["ModelServer"] |= {"replicas": replicas, "target_num_replicas": 3}
        return shown


@pytest.fixture(autouse=True)
def digits(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYMI_HOME", str(tmp_path))
    monkeypatch.delenv("RAYMI_STORE", raising=False)
    RolloutFiles(settings().store_dir, "digits").write(first_rollout(1))


@pytest.fixture
def cluster(monkeypatch):
    dashboard = OfThree()
    dashboard.states = ["DEPLOYING"]
    dashboard.applications = {"digits": {"name": "digits", "route_prefix": "/"}}
    found = serving.Cluster(client_of(dashboard, "s3cret"), 8000, None)
    monkeypatch.setattr(serving, "find_cluster", lambda: found)


def raymi(*arguments: str) -> str:
    return CliRunner().invoke(app, arguments, catch_exceptions=False).output


def test_replicas_that_run_and_that_should_are_shown(cluster):
    assert "1 of 3 replicas run (DEPLOYING)" in raymi("rollout", "digits")


def test_programs_get_the_same_numbers(cluster):
    document = json.loads(raymi("rollout", "digits", "--json"))

    assert (document["num_replicas"], document["target_num_replicas"]) == (1, 3)
    assert document["status"] == "DEPLOYING"


def test_without_a_cluster_the_rollout_is_shown_all_the_same(monkeypatch):
    def nobody():
        raise UnreachableError("no cluster", why="none was started", fix="start one")

    monkeypatch.setattr(serving, "find_cluster", nobody)

    output = raymi("rollout", "digits")

    assert "answers" in output
    assert "replicas run" not in output
    assert json.loads(raymi("rollout", "digits", "--json"))["target_num_replicas"] is None
