"""Put a model behind an endpoint: DeploySpec -> Deployment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from raymi.errors import ConflictError
from raymi.registry.bundle import load_bundle
from raymi.registry.protocol import ModelStore
from raymi.serve.applications import ServeClient
from raymi.serve.grpc.waiting import wait_until_live
from raymi.serve.identity import DEPLOYMENT_NAME
from raymi.serve.listing import endpoint, grpc_endpoint
from raymi.serve.plan import plan
from raymi.serve.rollout import state
from raymi.serve.rollout.control import RolloutControl, Share
from raymi.serve.rollout.files import RolloutFiles
from raymi.serve.rollout.references import FOLLOWS_ROLLOUT, reference_to
from raymi.serve.rows import example_row
from raymi.serve.tokens import ensure_token, token_path
from raymi.settings import settings
from raymi.specs.deploy import DeploySpec
from raymi.store.record import Record

_EVERYTHING = Share()

IMPORT_PATH = "raymi.serve.application:build"


class Deployment(Record):
    """A model that answers."""

    application: str
    """Its name on the cluster."""

    endpoint: str
    """Base URL; `/predict` and `/v2` are below it."""

    grpc_endpoint: str | None = None
    """`HOST:PORT` of the Open Inference Protocol over gRPC; None: the cluster does without."""

    model: str
    """The model's name."""

    version: int
    """The version an alias stood for when it was deployed."""

    fingerprint: str
    """sha256 of that version's manifest."""

    max_batch_size: int
    """Rows in one forward pass."""

    token_path: str | None
    """The file with the token that requests carry; None: this endpoint is open, or its tokens are
    kept elsewhere."""

    rollout: str
    """What became of the version: why the rollout is as it is."""

    example: dict[str, JsonValue]
    """A body that `POST /predict` takes."""


def run(
    spec: DeploySpec,
    *,
    client: ServeClient,
    store: ModelStore,
    http_options: Mapping[str, Any],
    share: Share = _EVERYTHING,
    timeout_s: float = 180.0,
) -> Deployment:
    """Deploy, and return once the model answers.

    Args:
        spec: Which model, and under which limits.
        client: The cluster.
        store: Where the model reference is looked up before anything is sent.
        http_options: `host` and `port` for Serve, if it is not running yet.
        share: Of requests for this version, if it is only to be tried beside the one that answers.
        timeout_s: How long it may take to become healthy.

    Raises:
        NotFoundError: There is no such model, version or alias.
        IntegrityError: Its bundle is damaged.
        ConflictError: Another application answers at the same route, or there is no version to try
            this one beside.
        DeploymentError: It did not become healthy; an earlier version goes on serving.
    """
    version = store.resolve(spec.model)
    bundle = load_bundle(Path(version.path), fingerprint=version.fingerprint)
    settled = plan(spec, swept_batch_size=version.micro_batch_size)
    here = settings()
    spec = _settle(spec, version.name, here.home_dir)
    name = spec.name or version.name
    files = RolloutFiles(here.store_dir, name)
    control = RolloutControl(files, lambda: client.replicas(name))
    application = _application(spec, name)
    wanted = reference_to(version)
    running = client.configured(name)
    if running is None or files.read() is None:
        _require_not_a_trial(share, name)
        files.remove()
        files.write(state.first(wanted, spec.rollback))
    else:
        control.deploy(wanted, spec.rollback, share=share, timeout_s=timeout_s)
    if running != application:
        client.put(application, http_options=dict(http_options))
        client.wait_until_running(application, timeout_s=timeout_s)
    is_ours = spec.access.mode == "token" and token_path(here.home_dir, name).is_file()
    return Deployment(
        application=name,
        endpoint=endpoint(client.status(), spec.route_prefix),
        model=version.name,
        version=version.version,
        fingerprint=version.fingerprint,
        max_batch_size=settled.batch.max_batch_size,
        token_path=str(token_path(here.home_dir, name)) if is_ours else None,
        rollout=control.current().reason,
        example={"rows": [example_row(bundle.signature)]},
    )


def over_grpc(deployment: Deployment, *, client: ServeClient, port: int | None) -> Deployment:
    """Say where a deployment answers over gRPC, once it does; None: the cluster does without."""
    if port is None:
        return deployment
    found = grpc_endpoint(client.status(), port)
    wait_until_live(found, deployment.application)
    return deployment.model_copy(update={"grpc_endpoint": found})


def _settle(spec: DeploySpec, model: str, home: Path) -> DeploySpec:
    """Fill in the name and the token."""
    spec = spec.model_copy(update={"name": spec.name or model})
    access = spec.access
    if access.mode == "token" and not access.token_sha256:
        digest = ensure_token(home, spec.name or model)
        access = access.model_copy(update={"token_sha256": (digest,)})
    return spec.model_copy(update={"access": access, "model": f"{model}@{FOLLOWS_ROLLOUT}"})


def _application(spec: DeploySpec, name: str) -> dict[str, Any]:
    """The application as Serve is told of it: nothing in it changes with the model's version.

    The number of replicas is not among the arguments either: with other arguments Serve would
    replace every replica.
    """
    replicas = {"name": DEPLOYMENT_NAME, "num_replicas": spec.num_replicas}
    return {
        "name": name,
        "route_prefix": spec.route_prefix,
        "import_path": IMPORT_PATH,
        "args": spec.model_copy(update={"num_replicas": 1}).to_document(),
        "deployments": [replicas],
        "runtime_env": {"env_vars": _environment()},
    }


def _require_not_a_trial(share: Share, name: str) -> None:
    if share.is_trial:
        raise ConflictError(
            f"{name}: nothing to try a version beside",
            why="the application is not deployed",
            fix="deploy a version first, without --canary and --shadow",
        )


def _environment() -> dict[str, str]:
    """Where the caller keeps its models: replicas must look there too, from any directory."""
    here = settings()
    places = {"RAYMI_HOME": here.home_dir, "RAYMI_STORE": here.store_dir}
    return {name: str(place) for name, place in places.items() if name in os.environ}
