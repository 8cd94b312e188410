"""Serve's REST interface: what runs, put one application beside the others, take one away.

Serve's PUT is the whole configuration: an application that is left out is deleted. So every
change starts from what is configured now.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests
from pydantic import SecretStr

from raymi.errors import ConflictError, DeploymentError, NotFoundError, UnreachableError

_PATH = "/api/serve/applications/"
_CLUSTER_PATH = "/api/cluster_status"
_NODES_PATH = "/api/v0/nodes?detail=1"
_REQUEST_TIMEOUT_S = 60.0
_POLL_INTERVAL_S = 0.5
_FAILED = ("DEPLOY_FAILED", "UNHEALTHY")
_MESSAGE_LINES = 3

Application = dict[str, Any]
"""One application as Serve's configuration file has it."""


class ServeClient:
    """Talks to the dashboard of one cluster."""

    def __init__(
        self,
        dashboard_url: str,
        token: SecretStr | None,
        *,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember where to ask; nothing is sent yet."""
        self._url = dashboard_url.rstrip("/")
        self._session = session or requests.Session()
        # A proxy of the environment has no business between us and a cluster's own port.
        self._session.trust_env = False
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._sleep = sleep
        self._now_s = now_s

    def status(self) -> dict[str, Any]:
        """Serve's own description: `applications`, `http_options`, proxies.

        Raises:
            UnreachableError: No dashboard answers, or it does not accept the token.
        """
        document: dict[str, Any] = self._request("GET").json()
        return document

    def configured(self, name: str) -> Application | None:
        """The configuration of an application that is up, or was; None where it is not deployed.

        Raises:
            UnreachableError: No dashboard answers.
        """
        found = self.status().get("applications", {}).get(name, {})
        if found.get("status") in (None, "DELETING", "NOT_STARTED"):
            return None
        config: Application | None = found.get("deployed_app_config")
        return config

    def has_failed(self, name: str) -> bool:
        """Whether an application could not be deployed, and nothing of it answers.

        Raises:
            UnreachableError: No dashboard answers.
        """
        found = self.status().get("applications", {}).get(name, {})
        return found.get("status") == "DEPLOY_FAILED" and not _running(found)

    def replicas(self, name: str) -> frozenset[str]:
        """Ids of an application's replicas that take requests.

        Raises:
            UnreachableError: No dashboard answers.
        """
        found = self.status().get("applications", {}).get(name, {})
        return frozenset(replica["replica_id"] for replica in _running(found))

    def free_cpus(self) -> float | None:
        """CPUs of the whole cluster that nothing has reserved; None: the cluster does not say.

        It is told anew every few seconds.

        Raises:
            UnreachableError: No dashboard answers.
        """
        return self._free("CPU")

    def free_accelerators(self) -> float | None:
        """The same of accelerators, at the same age.

        Raises:
            UnreachableError: No dashboard answers.
        """
        return self._free("GPU")

    def _free(self, resource: str) -> float | None:
        found: Any = self._request("GET", path=_CLUSTER_PATH).json()
        for name in ("data", "clusterStatus", "loadMetricsReport", "usage", resource):
            found = found.get(name) if isinstance(found, dict) else None
        if not isinstance(found, list) or len(found) != 2:
            return None
        used, total = found
        return float(total) - float(used)

    def most_accelerators(self) -> float | None:
        """Accelerators, taken or not, of the node that has most; None: the cluster does not say.

        Raises:
            UnreachableError: No dashboard answers.
        """
        found: Any = self._request("GET", path=_NODES_PATH).json()
        for name in ("data", "result", "result"):
            found = found.get(name) if isinstance(found, dict) else None
        nodes = [node for node in found or () if node.get("state") == "ALIVE"]
        totals = [float((node.get("resources_total") or {}).get("GPU", 0.0)) for node in nodes]
        return max(totals, default=None)

    def sleeps(self, name: str) -> bool:
        """Whether an application is up and has no replicas because nobody asks for any.

        Raises:
            UnreachableError: No dashboard answers.
        """
        found = self.status().get("applications", {}).get(name, {})
        wanted = [d.get("target_num_replicas") for d in found.get("deployments", {}).values()]
        return found.get("status") == "RUNNING" and bool(wanted) and not any(wanted)

    def put(self, application: Application, *, http_options: dict[str, Any]) -> None:
        """Add or update one application, and leave the others as they are.

        Args:
            application: Its configuration.
            http_options: `host` and `port`, used when Serve is not running yet: they cannot
                change afterwards.

        Raises:
            ConflictError: Another application answers at the same route.
            DeploymentError: Serve refused the configuration.
        """
        status = self.status()
        others = _configured(status, without=application["name"])
        _require_free_route(application, status)
        self._send([*others, application], status, http_options)

    def remove(self, name: str) -> None:
        """Take one application away, and leave the others as they are.

        Raises:
            NotFoundError: No such application.
        """
        status = self.status()
        if name not in status.get("applications", {}):
            running = ", ".join(sorted(status.get("applications", {}))) or "none"
            raise NotFoundError(
                f"{name}: not deployed",
                why=f"applications that are: {running}",
                fix="`raymi deployments` lists them",
            )
        self._send(_configured(status, without=name), status, {})

    def wait_until_running(self, application: Application, *, timeout_s: float) -> None:
        """Wait until this configuration of an application answers.

        Raises:
            DeploymentError: It failed, or was not ready in time; with Serve's own reason.
        """
        deadline_s = self._now_s() + timeout_s
        name = application["name"]
        while True:
            found = self.status().get("applications", {}).get(name, {})
            state = found.get("status", "NOT_STARTED")
            if state == "RUNNING" and found.get("deployed_app_config") == application:
                return
            if state in _FAILED:
                raise _failed(name, f"{state}: {_reason(found)}")
            if self._now_s() >= deadline_s:
                raise _failed(name, f"still {state} after {timeout_s:.0f} s: {_reason(found)}")
            self._sleep(_POLL_INTERVAL_S)

    def wait_until_gone(self, name: str, *, timeout_s: float) -> None:
        """Wait until an application's replicas have ended.

        Raises:
            DeploymentError: They are still there.
        """
        deadline_s = self._now_s() + timeout_s
        while name in self.status().get("applications", {}):
            if self._now_s() >= deadline_s:
                raise DeploymentError(
                    f"{name}: still there after {timeout_s:.0f} s",
                    why="its replicas have not finished their requests",
                    fix="look again with `raymi deployments`",
                )
            self._sleep(_POLL_INTERVAL_S)

    def _send(
        self,
        applications: list[Application],
        status: dict[str, Any],
        http_options: dict[str, Any],
    ) -> None:
        config: dict[str, Any] = {"applications": applications}
        # Serve warns when these differ from what it was started with, so repeat them.
        config["http_options"] = status.get("http_options") or http_options
        for name in ("proxy_location", "grpc_options", "target_capacity"):
            if status.get(name) is not None:
                config[name] = status[name]
        self._request("PUT", config)

    def _request(
        self, method: str, body: dict[str, Any] | None = None, *, path: str = _PATH
    ) -> requests.Response:
        url = self._url + path
        try:
            answer = self._session.request(method, url, json=body, timeout=_REQUEST_TIMEOUT_S)
        except requests.RequestException as error:
            raise UnreachableError(
                f"no Ray dashboard at {self._url}",
                why=type(error).__name__,
                fix="start a cluster with `raymi up`, or set RAY_API_SERVER_ADDRESS",
            ) from error
        if answer.status_code in (401, 403):
            raise UnreachableError(
                "the cluster does not accept the token",
                why=f"HTTP {answer.status_code} from its dashboard",
                fix="set RAY_AUTH_TOKEN_PATH to the cluster's token file",
            )
        if not answer.ok:
            raise DeploymentError(
                "Serve refused the request",
                why=f"HTTP {answer.status_code}: {_last_lines(answer.text)}",
                fix="read the cluster's logs/dashboard_ServeHead.log",
            )
        return answer


def _running(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Replicas of an application that take requests."""
    return [
        replica
        for deployment in found.get("deployments", {}).values()
        for replica in deployment.get("replicas", ())
        if replica.get("state") == "RUNNING"
    ]


def _configured(status: dict[str, Any], *, without: str) -> list[Application]:
    """Configurations of the applications that are to stay."""
    return [
        found["deployed_app_config"]
        for name, found in status.get("applications", {}).items()
        if name != without
        and found.get("deployed_app_config")
        and found.get("status") != "DELETING"
    ]


def _require_free_route(application: Application, status: dict[str, Any]) -> None:
    route = application["route_prefix"]
    for name, found in status.get("applications", {}).items():
        if name != application["name"] and found.get("route_prefix") == route:
            raise ConflictError(
                f"{route}: another application answers there",
                why=f"it is {name}",
                fix=f"`--set route_prefix=/{application['name']}`, or `raymi undeploy {name}`",
            )


def _reason(found: dict[str, Any]) -> str:
    """Why, in Serve's words: the deployments know more than the application."""
    messages = [
        deployment.get("message", "") for deployment in found.get("deployments", {}).values()
    ]
    text = next((message for message in messages if message), found.get("message", ""))
    return _last_lines(text) or "no reason given yet"


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-_MESSAGE_LINES:])


def _failed(name: str, why: str) -> DeploymentError:
    return DeploymentError(
        f"{name}: the application did not become healthy",
        why=why,
        fix="an earlier version, if there was one, goes on serving; "
        "the replica's log is in the session's logs/serve",
    )
