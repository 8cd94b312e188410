"""Put a model behind an endpoint: DeploySpec -> Deployment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from raymi.registry.bundle import load_bundle
from raymi.registry.protocol import ModelStore
from raymi.serve.applications import ServeClient
from raymi.serve.listing import endpoint
from raymi.serve.plan import plan
from raymi.serve.rows import example_row
from raymi.settings import settings
from raymi.specs.deploy import DeploySpec
from raymi.store.record import Record

IMPORT_PATH = "raymi.serve.application:build"


class Deployment(Record):
    """A model that answers."""

    application: str
    """Its name on the cluster."""

    endpoint: str
    """Base URL; `/predict` and `/v2` are below it."""

    model: str
    """The model's name."""

    version: int
    """The version an alias stood for when it was deployed."""

    fingerprint: str
    """sha256 of that version's manifest."""

    max_batch_size: int
    """Rows in one forward pass."""

    example: dict[str, JsonValue]
    """A body that `POST /predict` takes."""


def run(
    spec: DeploySpec,
    *,
    client: ServeClient,
    store: ModelStore,
    http_options: Mapping[str, Any],
    timeout_s: float = 180.0,
) -> Deployment:
    """Deploy, and return once the model answers.

    Args:
        spec: Which model, and under which limits.
        client: The cluster.
        store: Where the model reference is looked up before anything is sent.
        http_options: `host` and `port` for Serve, if it is not running yet.
        timeout_s: How long it may take to become healthy.

    Raises:
        NotFoundError: There is no such model, version or alias.
        IntegrityError: Its bundle is damaged.
        ConflictError: Another application answers at the same route.
        DeploymentError: It did not become healthy; an earlier version goes on serving.
    """
    version = store.resolve(spec.model)
    bundle = load_bundle(Path(version.path), fingerprint=version.fingerprint)
    settled = plan(spec, swept_batch_size=version.micro_batch_size)
    name = spec.name or version.name
    arguments = spec.model_copy(
        update={"model": f"{version.name}@{version.version}", "name": name}
    ).to_document()
    application = {
        "name": name,
        "route_prefix": spec.route_prefix,
        "import_path": IMPORT_PATH,
        "args": arguments,
        "runtime_env": {"env_vars": _environment()},
    }
    client.put(application, http_options=dict(http_options))
    client.wait_until_running(application, timeout_s=timeout_s)
    return Deployment(
        application=name,
        endpoint=endpoint(client.status(), spec.route_prefix),
        model=version.name,
        version=version.version,
        fingerprint=version.fingerprint,
        max_batch_size=settled.batch.max_batch_size,
        example={"rows": [example_row(bundle.signature)]},
    )


def _environment() -> dict[str, str]:
    """Where the caller keeps its models: replicas must look there too, from any directory."""
    here = settings()
    places = {"RAYMI_HOME": here.home_dir, "RAYMI_STORE": here.store_dir}
    return {name: str(place) for name, place in places.items() if name in os.environ}
