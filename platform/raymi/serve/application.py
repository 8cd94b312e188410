"""What `serve run` and Serve's REST interface import: arguments in, application out."""

from __future__ import annotations

from typing import Any

import ray
from ray import serve

from raymi.errors import SpecError
from raymi.registry.store import open_store
from raymi.serve.accelerator import settle_accelerators
from raymi.serve.deployment import deployment
from raymi.serve.plan import spec_from_arguments
from raymi.serve.rollout.references import FOLLOWS_ROLLOUT, reference_to
from raymi.serve.rollout.state import Rollout, first


def build(arguments: dict[str, Any]) -> serve.Application:
    """Build the application that serves a model, or several in the same replicas.

    `serve run serve_apps.model_server:build model=digits@champion access.mode=open`

    The alias is resolved here, once: every replica, also one that starts days later, serves the
    version that was meant when the application was deployed. What `raymi deploy` deploys follows
    the application's rollout instead.

    Args:
        arguments: Fields of a DeploySpec by dotted path; text is read as YAML.

    Raises:
        SpecError: An argument is wrong, or requests need a token and none would be accepted.
        NotFoundError: There is no such model, version or alias.
        InfeasibleError: No node of the cluster has as many accelerators as a replica wants.
    """
    spec = spec_from_arguments(arguments)
    if spec.access.mode == "token" and not spec.access.token_sha256:
        raise SpecError(
            "access: no token would be accepted",
            why="requests need a token, and access.token_sha256 is empty",
            fix="use `raymi deploy`, which makes one, or say access.mode=open",
        )
    spec = settle_accelerators(spec, _most_accelerators)
    fixed: dict[str, Rollout] = {}
    max_batch_size = 1
    for reference in (spec.model, *spec.also):
        name, _, alias = reference.partition("@")
        if alias != FOLLOWS_ROLLOUT:
            version = reference_to(open_store().resolve(reference), spec)
            max_batch_size = max(max_batch_size, version.max_batch_size)
            fixed[name] = first(version, spec.rollback)
    application: serve.Application = deployment(spec, max_batch_size=max_batch_size).bind(
        spec, fixed
    )
    return application


def _most_accelerators() -> float | None:
    """Of the live node that has most; None: this process is on no cluster.

    `serve run` joins one only after it has built the application.
    """
    if not ray.is_initialized():
        return None
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return max((float(node["Resources"].get("GPU", 0.0)) for node in nodes), default=None)
