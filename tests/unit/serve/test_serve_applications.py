"""Applications are put, awaited and removed over Serve's REST interface, one beside the others."""

import json

import pytest
import requests
from pydantic import SecretStr

from raymi.errors import ConflictError, DeploymentError, NotFoundError, UnreachableError
from raymi.serve.applications import ServeClient
from raymi.serve.listing import deployed_applications

HTTP_OPTIONS = {"host": "127.0.0.1", "port": 8123}


class Dashboard(requests.adapters.BaseAdapter):
    """Serve as its REST interface shows it: PUT replaces everything, states take a while."""

    def __init__(self):
        super().__init__()
        self.applications, self.http_options = {}, None
        self.states = ["DEPLOYING", "RUNNING"]
        self.message = ""
        self.nodes = []
        self.usage = {}
        self.down = False

    def send(self, request, **_):
        if self.down:
            raise requests.ConnectionError
        if request.headers.get("Authorization") != "Bearer s3cret":
            return self._answer(request, 401, {})
        if request.method == "PUT":
            config = json.loads(request.body)
            self.applications = {app["name"]: app for app in config["applications"]}
            self.http_options = self.http_options or config["http_options"]
            return self._answer(request, 200, {})
        if "/api/v0/nodes" in request.url:
            return self._answer(request, 200, {"data": {"result": {"result": self.nodes}}})
        if "/api/cluster_status" in request.url:
            report = {"loadMetricsReport": {"usage": self.usage}}
            return self._answer(request, 200, {"data": {"clusterStatus": report}})
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        shown = {name: self._shown(app, state) for name, app in self.applications.items()}
        document = {"applications": shown, "http_options": self.http_options}
        return self._answer(request, 200, document)

    def close(self):
        pass

    def _shown(self, app, state):
        replicas = [{"state": "RUNNING"}] if state == "RUNNING" else []
        deployment = {"message": self.message, "replicas": replicas}
        return {
            "status": state,
            "route_prefix": app["route_prefix"],
            "deployed_app_config": app,
            "deployments": {"ModelServer": deployment},
        }

    @staticmethod
    def _answer(request, status, document):
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = status, request, request.url
        answer._content = json.dumps(document).encode()
        return answer


@pytest.fixture
def dashboard():
    return Dashboard()


@pytest.fixture
def client(dashboard):
    return client_of(dashboard, "s3cret")


def client_of(dashboard, token):
    session = requests.Session()
    session.mount("http://", dashboard)
    seconds = iter(range(1000))
    return ServeClient(
        "http://cluster:8265",
        SecretStr(token),
        session=session,
        sleep=lambda _: None,
        now_s=lambda: next(seconds),
    )


def app(name, route="/", model="digits@1"):
    return {"name": name, "route_prefix": route, "args": {"model": model}}


def test_a_new_application_stands_beside_the_ones_that_run(client, dashboard):
    client.put(app("first"), http_options=HTTP_OPTIONS)
    client.put(app("second", "/second"), http_options=HTTP_OPTIONS)

    assert list(dashboard.applications) == ["first", "second"]


def test_putting_an_application_again_replaces_it_alone(client, dashboard):
    client.put(app("first"), http_options=HTTP_OPTIONS)
    client.put(app("second", "/second"), http_options=HTTP_OPTIONS)
    client.put(app("first", model="digits@2"), http_options=HTTP_OPTIONS)

    assert dashboard.applications["first"]["args"] == {"model": "digits@2"}
    assert len(dashboard.applications) == 2


def test_the_first_deployment_decides_where_serve_listens(client, dashboard):
    client.put(app("first"), http_options=HTTP_OPTIONS)
    client.put(app("second", "/second"), http_options={"host": "127.0.0.1", "port": 9999})

    assert dashboard.http_options == HTTP_OPTIONS


def test_a_route_that_is_taken_is_refused_before_anything_is_sent(client, dashboard):
    client.put(app("first"), http_options=HTTP_OPTIONS)

    with pytest.raises(ConflictError, match="first"):
        client.put(app("second"), http_options=HTTP_OPTIONS)
    assert list(dashboard.applications) == ["first"]


def node(state="ALIVE", **resources):
    return {"state": state, "resources_total": resources}


def test_the_node_with_most_accelerators_is_found_among_those_alive(client, dashboard):
    dashboard.nodes = [node(CPU=8.0), node(GPU=2.0), node(GPU=1.0), node("DEAD", GPU=8.0)]

    assert client.most_accelerators() == 2.0


def test_a_cluster_without_accelerators_has_none_and_one_that_is_silent_says_nothing(
    client, dashboard
):
    dashboard.nodes = [node(CPU=8.0)]
    assert client.most_accelerators() == 0.0

    dashboard.nodes = []
    assert client.most_accelerators() is None


def test_what_is_free_is_what_nothing_has_reserved(client, dashboard):
    dashboard.usage = {"CPU": [3.0, 8.0], "GPU": [0.5, 2.0]}

    assert (client.free_cpus(), client.free_accelerators()) == (5.0, 1.5)


def test_a_cluster_that_counts_no_accelerators_says_nothing_of_free_ones(client, dashboard):
    dashboard.usage = {"CPU": [3.0, 8.0]}

    assert client.free_accelerators() is None


def test_waiting_ends_when_the_application_runs(client, dashboard):
    dashboard.states = ["NOT_STARTED", "DEPLOYING", "DEPLOYING", "RUNNING"]
    client.put(app("first"), http_options=HTTP_OPTIONS)

    client.wait_until_running(app("first"), timeout_s=100)

    assert dashboard.states == ["RUNNING"]


def test_a_failure_is_told_in_serves_last_words(client, dashboard):
    client.put(app("first"), http_options=HTTP_OPTIONS)
    dashboard.states = ["DEPLOYING", "DEPLOY_FAILED"]
    dashboard.message = "Traceback\n  ...\nIntegrityError: damaged artifact, refused\n"

    with pytest.raises(DeploymentError, match="damaged artifact, refused"):
        client.wait_until_running(app("first"), timeout_s=100)


def test_waiting_has_an_end(client, dashboard):
    client.put(app("first"), http_options=HTTP_OPTIONS)
    dashboard.states = ["DEPLOYING"]

    with pytest.raises(DeploymentError, match="still DEPLOYING"):
        client.wait_until_running(app("first"), timeout_s=100)


def test_removing_one_leaves_the_others(client, dashboard):
    client.put(app("first"), http_options=HTTP_OPTIONS)
    client.put(app("second", "/second"), http_options=HTTP_OPTIONS)
    client.remove("first")

    client.wait_until_gone("first", timeout_s=10)
    assert list(dashboard.applications) == ["second"]


def test_removing_what_is_not_there_says_what_is(client):
    client.put(app("first"), http_options=HTTP_OPTIONS)

    with pytest.raises(NotFoundError, match="first"):
        client.remove("frist")


def test_a_cluster_that_does_not_answer_is_unreachable(client, dashboard):
    dashboard.down = True

    with pytest.raises(UnreachableError, match="cluster:8265"):
        client.status()


def test_a_wrong_token_is_told_apart_and_never_repeated(dashboard):
    with pytest.raises(UnreachableError, match="token") as refusal:
        client_of(dashboard, "wr0ng").status()

    assert "wr0ng" not in str(refusal.value)


def test_a_listing_shows_model_state_and_endpoint(client, dashboard):
    dashboard.states = ["RUNNING"]
    client.put(app("first", "/digits"), http_options=HTTP_OPTIONS)

    (listed,) = deployed_applications(client.status(), {})

    assert (listed.model, listed.status, listed.num_replicas) == ("digits@1", "RUNNING", 1)
    assert listed.endpoint == "http://127.0.0.1:8123/digits"
