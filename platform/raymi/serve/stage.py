"""Put models behind an endpoint: DeploySpec -> Deployment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from raymi.errors import ConflictError, RaymiError
from raymi.registry.bundle import load_bundle
from raymi.registry.protocol import ModelStore
from raymi.serve.accelerator import settle_accelerators
from raymi.serve.applications import ServeClient
from raymi.serve.grpc.waiting import wait_until_live
from raymi.serve.identity import DEPLOYMENT_NAME
from raymi.serve.listing import endpoint, grpc_endpoint
from raymi.serve.rollout import state
from raymi.serve.rollout.control import RolloutControl, Share
from raymi.serve.rollout.files import RolloutFiles, further_models
from raymi.serve.rollout.references import FOLLOWS_ROLLOUT, reference_to
from raymi.serve.rollout.state import VersionRef
from raymi.serve.rows import example_row
from raymi.serve.scaling import autoscaling_config
from raymi.serve.tokens import ensure_token, token_path
from raymi.settings import settings
from raymi.specs.backend import BackendName
from raymi.specs.deploy import BatchingSpec, BreachRules, DeploySpec
from raymi.store.record import Record

_EVERYTHING = Share()

_NOT_ARGUMENTS = {
    "num_replicas": 1,
    "scaling": None,
    "backend": BackendName.EAGER,
    "precision": None,
    "batching": BatchingSpec(),
    "rollback": BreachRules(),
}
"""Of a spec: told to replicas by the rollout, or to Serve, so that they need not be replaced."""

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

    also: tuple[str, ...] = ()
    """`NAME@VERSION` of the further models in the same replicas."""

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
    """Deploy, and return once every model answers.

    Args:
        spec: Which models, and under which limits.
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
        InfeasibleError: No node of the cluster has as many accelerators as a replica wants.
        DeploymentError: It did not become healthy; an earlier version goes on serving.
    """
    version, *further = (store.resolve(reference) for reference in (spec.model, *spec.also))
    bundle, *_ = (load_bundle(Path(v.path), fingerprint=v.fingerprint) for v in (version, *further))
    wanted = [reference_to(v, spec) for v in (version, *further)]
    here, name = settings(), spec.name or version.name
    spec = _settle(spec, name, here.home_dir, client)
    application = _application(spec, name, max_batch_size=wanted[0].max_batch_size)
    _clear_failed(client, name, timeout_s=timeout_s)
    running = client.configured(name)
    is_new = running is None or RolloutFiles(here.store_dir, name).read() is None
    _require_order(here.store_dir, name, spec.model_names, is_new=is_new)
    controls = _controls(here.store_dir, name, client, spec.model_names)
    added = roll_out(wanted, controls, spec.rollback, share, is_new=is_new, timeout_s=timeout_s)
    with _forgotten_on_failure(() if is_new else added):
        if running != application:
            client.put(application, http_options=dict(http_options))
        client.wait_until_running(application, timeout_s=timeout_s)
    for files, control in controls:
        if files in added and spec.also:
            control.wait_until_it_answers(timeout_s=timeout_s)
    _forget_others(here.store_dir, name, spec.model_names)
    return Deployment(
        application=name,
        endpoint=endpoint(client.status(), spec.route_prefix),
        model=version.name,
        version=version.version,
        fingerprint=version.fingerprint,
        max_batch_size=wanted[0].max_batch_size,
        token_path=_token_of_ours(spec, here.home_dir, name),
        rollout=controls[0][1].current().reason,
        also=tuple(ref.reference for ref in wanted[1:]),
        example={"rows": [example_row(bundle.signature)]},
    )


def over_grpc(deployment: Deployment, *, client: ServeClient, port: int | None) -> Deployment:
    """Say where a deployment answers over gRPC, once it does; None: the cluster does without."""
    if port is None:
        return deployment
    found = grpc_endpoint(client.status(), port)
    wait_until_live(found, deployment.application)
    return deployment.model_copy(update={"grpc_endpoint": found})


def _token_of_ours(spec: DeploySpec, home: Path, name: str) -> str | None:
    """Where the token is that requests need, if it was made here."""
    path = token_path(home, name)
    return str(path) if spec.access.mode == "token" and path.is_file() else None


Controls = Sequence[tuple[RolloutFiles, RolloutControl]]
"""Of an application's models, the first model's first."""


def roll_out(
    wanted: Sequence[VersionRef],
    controls: Controls,
    rules: BreachRules,
    share: Share,
    *,
    is_new: bool,
    timeout_s: float,
) -> list[RolloutFiles]:
    """Let each model's version answer, or try it where it is another than the one that does.

    Args:
        wanted: A version of each model.
        controls: In the same order.
        rules: When a version is taken back.
        share: For the versions that are only to be tried.
        is_new: Whether nothing is deployed yet; what an earlier application left is forgotten.
        timeout_s: For each.

    Returns:
        The files of the models that had no rollout.

    Raises:
        ConflictError: There is nothing to try a version beside.
        DeploymentError: A replica refused a version; the models before it have been rolled out.
    """
    if is_new:
        _require_not_a_trial(share, controls[0][0].directory.name)
        controls[0][0].remove()
    rollouts = [files.read() for files, _ in controls]
    changed = [r is not None and r.active != w for r, w in zip(rollouts, wanted, strict=True)]
    added: list[RolloutFiles] = []
    for at, (files, control) in enumerate(controls):
        is_tried = changed[at] or (at == 0 and not any(changed))
        if rollouts[at] is not None:
            part = share if is_tried else _EVERYTHING
            control.deploy(wanted[at], rules, share=part, timeout_s=timeout_s)
        else:
            files.write(state.first(wanted[at], rules))
            added.append(files)
    return added


@contextlib.contextmanager
def _forgotten_on_failure(added: Sequence[RolloutFiles]) -> Iterator[None]:
    """If the replicas with further models do not start, nobody follows these models' rollouts."""
    try:
        yield
    except RaymiError:
        for files in added:
            files.remove()
        raise


def _clear_failed(client: ServeClient, name: str, *, timeout_s: float) -> None:
    """Take away what failed to start: Serve does not try the same configuration again."""
    if client.has_failed(name):
        client.remove(name)
        client.wait_until_gone(name, timeout_s=timeout_s)


def _forget_others(store_dir: Path, name: str, models: Sequence[str]) -> None:
    """Remove the rollouts of further models that the application does not have any more."""
    for model in set(further_models(store_dir, name)) - set(models[1:]):
        RolloutFiles(store_dir, name, further=model).remove()


def _controls(store_dir: Path, name: str, client: ServeClient, models: Sequence[str]) -> Controls:
    every = [RolloutFiles(store_dir, name)]
    every += [RolloutFiles(store_dir, name, further=model) for model in models[1:]]
    return [
        (
            files,
            RolloutControl(
                files, lambda: client.replicas(name), sleeps=lambda: client.sleeps(name)
            ),
        )
        for files in every
    ]


def _require_order(store_dir: Path, name: str, models: Sequence[str], *, is_new: bool) -> None:
    """Refuse to let a further model take the first one's place, or the other way round."""
    first = RolloutFiles(store_dir, name).read()
    if is_new or first is None or first.active.name == models[0]:
        return
    if first.active.name in models or models[0] in further_models(store_dir, name):
        raise ConflictError(
            f"{name}: {models[0]} cannot become its first model",
            why=f"`POST /predict` asks {first.active.name}, which answers there now",
            fix=f"keep the order of the models, or `raymi undeploy {name}` first",
        )


def _settle(spec: DeploySpec, name: str, home: Path, client: ServeClient) -> DeploySpec:
    """Fill in the name, the accelerators and the token."""
    kept = (client.configured(name) or {}).get("args", {}).get("accelerators_per_replica")
    spec = settle_accelerators(spec, client.most_accelerators, kept=kept)
    spec = spec.model_copy(update={"name": name})
    access = spec.access
    if access.mode == "token" and not access.token_sha256:
        digest = ensure_token(home, name)
        access = access.model_copy(update={"token_sha256": (digest,)})
    first, *also = (f"{each}@{FOLLOWS_ROLLOUT}" for each in spec.model_names)
    return spec.model_copy(update={"access": access, "model": first, "also": tuple(also)})


def _application(spec: DeploySpec, name: str, *, max_batch_size: int) -> dict[str, Any]:
    """The application as Serve is told of it: nothing in it changes with a model's version.

    The number of replicas is not among the arguments either, nor is how the model is run, which is
    rolled out as a version is: with other arguments Serve would replace every replica.
    """
    replicas: dict[str, Any] = {"name": DEPLOYMENT_NAME}
    if spec.scaling is None:
        replicas["num_replicas"] = spec.num_replicas
    else:
        replicas["autoscaling_config"] = autoscaling_config(
            spec.scaling, max_batch_size=max_batch_size
        )
    return {
        "name": name,
        "route_prefix": spec.route_prefix,
        "import_path": IMPORT_PATH,
        "args": spec.model_copy(update=_NOT_ARGUMENTS).to_document(),
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
