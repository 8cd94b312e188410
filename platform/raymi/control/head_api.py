"""What a head's HTTP interface says: whether it is there, and what is running on it."""

from __future__ import annotations

from typing import Any

import requests

from raymi.control.head_state import HeadState
from raymi.control.ports import LOOPBACK
from raymi.errors import UnreachableError

_TIMEOUT_S = 5.0
# The first question about Serve makes the dashboard connect to the cluster.
_SERVE_TIMEOUT_S = 20.0
_LIVE_JOBS = ("PENDING", "RUNNING")


class HeadApi:
    """Asks one head; every question may raise UnreachableError."""

    def __init__(self, state: HeadState) -> None:
        """Remember where and with which token; nothing is sent yet."""
        self._dashboard = state.dashboard_url
        self._agent = f"http://{LOOPBACK}:{state.ports.agent}"
        self._session = requests.Session()
        # A proxy that the environment names is for other hosts.
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {state.token().get_secret_value()}"

    def ray_version(self) -> str:
        """Version of the Ray that answers."""
        return str(self._get("/api/version").get("ray_version"))

    def require_agent(self) -> None:
        """Ask the agent that starts jobs whether it and its raylet are well."""
        self._send(f"{self._agent}/api/local_raylet_healthz", _TIMEOUT_S)

    def require_node(self) -> None:
        """Ask whether Ray calls its node alive."""
        if not self._nodes():
            raise _no_answer(self._dashboard, "Ray does not call its node alive")

    def live_jobs(self) -> list[dict[str, Any]]:
        """Submitted jobs that wait or run."""
        jobs = self._get("/api/jobs/")
        return [
            {key: job.get(key) for key in ("submission_id", "status", "entrypoint", "start_time")}
            for job in jobs
            if job.get("type") == "SUBMISSION" and job.get("status") in _LIVE_JOBS
        ]

    def applications(self) -> list[dict[str, Any]]:
        """Serve applications."""
        found = self._get("/api/serve/applications/", timeout_s=_SERVE_TIMEOUT_S)
        return [
            {"name": name, "status": app.get("status"), "route_prefix": app.get("route_prefix")}
            for name, app in (found.get("applications") or {}).items()
        ]

    def resources(self) -> dict[str, dict[str, float | None]]:
        """CPUs and GPUs, total and free; free is None until Ray has reported use (seconds)."""
        totals: dict[str, float] = {"CPU": 0.0}
        for node in self._nodes():
            for name in ("CPU", "GPU"):
                if name in (node.get("resources_total") or {}):
                    totals[name] = totals.get(name, 0.0) + float(node["resources_total"][name])
        report = self._get("/api/cluster_status").get("data") or {}
        usage = ((report.get("clusterStatus") or {}).get("loadMetricsReport") or {}).get("usage")
        return {name: _with_free(total, (usage or {}).get(name)) for name, total in totals.items()}

    def _nodes(self) -> list[dict[str, Any]]:
        found = self._get("/api/v0/nodes?detail=1").get("data") or {}
        nodes: list[dict[str, Any]] = (found.get("result") or {}).get("result") or []
        return [node for node in nodes if node.get("state") == "ALIVE"]

    def _get(self, path: str, *, timeout_s: float = _TIMEOUT_S) -> Any:
        answer = self._send(f"{self._dashboard}{path}", timeout_s)
        try:
            return answer.json()
        except ValueError as error:
            raise _no_answer(answer.url, "the answer is not JSON") from error

    def _send(self, url: str, timeout_s: float) -> requests.Response:
        try:
            answer = self._session.get(url, timeout=timeout_s)
        except requests.RequestException as error:
            raise _no_answer(url, type(error).__name__) from error
        if answer.status_code in (401, 403):
            raise _no_answer(url, "it does not accept this head's token: it is another cluster")
        if not answer.ok:
            raise _no_answer(url, f"HTTP {answer.status_code}")
        return answer


def _with_free(total: float, usage: list[float] | None) -> dict[str, float | None]:
    return {"total": total, "free": total - usage[0] if usage else None}


def _no_answer(url: str, why: str) -> UnreachableError:
    return UnreachableError(f"{url}: no usable answer", why=why, fix="raymi status")
