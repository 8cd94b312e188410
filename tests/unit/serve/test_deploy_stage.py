"""A deployment is told to be one only while it is up, and one that failed is tried again."""

import pytest

from raymi.errors import DeploymentError
from raymi.serve import stage
from raymi.serve.rollout.files import RolloutFiles
from raymi.specs.deploy import BreachRules, DeploySpec
from tests.unit.serve.test_serve_applications import HTTP_OPTIONS, Dashboard, client_of, node


class Cluster(Dashboard):
    """Serve, which remembers how an application ended until its configuration changes."""

    def __init__(self):
        super().__init__()
        self.outcome, self.states, self.puts = "RUNNING", ["NOT_STARTED"], []
        self.message = "RuntimeError: no room"

    def send(self, request, **options):
        before = self.applications
        answer = super().send(request, **options)
        if request.method == "PUT":
            self.puts.append(sorted(self.applications))
            if self.applications != before:
                self.states = [self.outcome]
        return answer


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def deploy(cluster, store, tmp_path, monkeypatch):
    monkeypatch.setenv("RAYMI_HOME", str(tmp_path))
    client = client_of(cluster, "s3cret")

    def deploy(**fields):
        spec = DeploySpec(model="things@1", **fields)
        return stage.run(spec, client=client, store=store, http_options=HTTP_OPTIONS, timeout_s=9.0)

    return deploy


def test_a_first_deployment_that_failed_is_tried_again(cluster, deploy):
    cluster.outcome = "DEPLOY_FAILED"
    with pytest.raises(DeploymentError, match="no room"):
        deploy()

    cluster.outcome = "RUNNING"
    found = deploy()

    assert (found.application, found.version) == ("things", 1)
    assert cluster.puts == [["things"], [], ["things"]]


def test_one_that_fails_twice_is_told_twice(cluster, deploy):
    cluster.outcome = "DEPLOY_FAILED"

    for _ in range(2):
        with pytest.raises(DeploymentError, match="no room"):
            deploy()


def test_what_is_up_already_is_not_sent_again(cluster, deploy):
    deploy()
    deploy()

    assert cluster.puts == [["things"]]


def test_other_rules_for_taking_back_hold_and_replace_no_replica(cluster, deploy, tmp_path):
    rules = BreachRules(min_agreement=0.9)
    deploy()
    deploy(rollback=rules)

    assert cluster.puts == [["things"]]
    assert RolloutFiles(tmp_path / "store", "things").read().rules == rules


def reserved(cluster):
    return cluster.applications["things"]["args"]["accelerators_per_replica"]


def test_the_same_deployment_is_the_same_after_nodes_with_accelerators_have_gone(cluster, deploy):
    cluster.nodes = [node(CPU=8.0, GPU=2.0)]
    deploy()
    cluster.nodes = [node(CPU=8.0)]
    deploy()

    assert reserved(cluster) == 1.0
    assert cluster.puts == [["things"]]


def test_a_node_with_accelerators_that_comes_later_changes_nothing_by_itself(cluster, deploy):
    deploy()
    cluster.nodes = [node(CPU=8.0, GPU=2.0)]
    deploy()

    assert reserved(cluster) == 0.0
    assert cluster.puts == [["things"]]


def test_cpus_can_be_asked_for_where_there_are_accelerators(cluster, deploy):
    cluster.nodes = [node(CPU=8.0, GPU=2.0)]
    deploy(accelerators_per_replica=0.0)

    assert reserved(cluster) == 0.0


@pytest.mark.parametrize("state", ["DEPLOYING", "UNHEALTHY"])
def test_what_is_configured_and_not_up_is_no_success(cluster, deploy, state):
    deploy()
    cluster.states = [state]

    with pytest.raises(DeploymentError, match=state):
        deploy()
    assert cluster.puts == [["things"]]


def test_an_update_that_failed_while_the_old_replicas_answer_is_left_alone(
    cluster, deploy, tmp_path, monkeypatch
):
    deploy()
    monkeypatch.setattr(
        cluster,
        "_shown",
        lambda app, _: {
            "status": "DEPLOY_FAILED",
            "route_prefix": app["route_prefix"],
            "deployed_app_config": app,
            "deployments": {"ModelServer": {"replicas": [{"state": "RUNNING"}], "message": "no"}},
        },
    )

    with pytest.raises(DeploymentError):
        deploy()
    assert cluster.puts == [["things"]]
    assert RolloutFiles(tmp_path / "store", "things").read() is not None
