"""What is deployed on a cluster, told from Serve's own description of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raymi.store.record import Record


class DeployedApplication(Record):
    """One application, Raymi's or not."""

    application: str
    """Its name."""

    model: str | None
    """`NAME@VERSION` of its first model; None if it was not deployed by Raymi."""

    also: tuple[str, ...]
    """`NAME@VERSION` of the further models in the same replicas."""

    status: str
    """Ray Serve's word: `RUNNING`, `DEPLOYING`, `DEPLOY_FAILED`, ..."""

    num_replicas: int
    """Replicas that are running."""

    target_num_replicas: int
    """Replicas that there should be."""

    endpoint: str | None
    """Base URL; None while Serve does not route to it."""

    message: str
    """Serve's own words about its state."""


def deployed_applications(
    status: Mapping[str, Any], served: Mapping[str, tuple[str, ...]]
) -> tuple[DeployedApplication, ...]:
    """Every application, by name.

    Args:
        status: Serve's description of itself.
        served: What answers in the applications that have a rollout, by name.
    """
    found: dict[str, dict[str, Any]] = status.get("applications", {})
    return tuple(
        _application(status, name, found[name], served.get(name, ())) for name in sorted(found)
    )


def endpoint(status: Mapping[str, Any], route_prefix: str) -> str:
    """Base URL of an application."""
    port = (status.get("http_options") or {}).get("port", 8000)
    return f"http://{_host(status)}:{port}{route_prefix.rstrip('/')}"


def grpc_endpoint(status: Mapping[str, Any], port: int) -> str:
    """`HOST:PORT` where every application answers over gRPC."""
    return f"{_host(status)}:{port}"


def _host(status: Mapping[str, Any]) -> str:
    host: str = (status.get("http_options") or {}).get("host", "127.0.0.1")
    return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - read, not bound


def _application(
    status: Mapping[str, Any], name: str, found: Mapping[str, Any], served: tuple[str, ...]
) -> DeployedApplication:
    arguments = (found.get("deployed_app_config") or {}).get("args", {})
    replicas = [
        replica.get("state")
        for deployment in found.get("deployments", {}).values()
        for replica in deployment.get("replicas", ())
    ]
    route = found.get("route_prefix")
    return DeployedApplication(
        application=name,
        model=served[0] if served else arguments.get("model"),
        also=served[1:],
        status=found.get("status", "NOT_STARTED"),
        num_replicas=replicas.count("RUNNING"),
        target_num_replicas=sum(
            deployment.get("target_num_replicas") or 0
            for deployment in found.get("deployments", {}).values()
        ),
        endpoint=None if route is None else endpoint(status, route),
        message=found.get("message", ""),
    )
