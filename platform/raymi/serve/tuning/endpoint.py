"""One candidate, deployed for real beside whatever is served, put under load, and taken away.

It has a name, a route and a token of its own. Nothing of the applications that are up is changed.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from raymi.errors import NotFoundError, UnreachableError
from raymi.registry.protocol import ModelStore
from raymi.serve import stage
from raymi.serve.applications import ServeClient
from raymi.serve.load.generator import Outcome, open_loop
from raymi.serve.load.message import parse_answer, request_bytes
from raymi.serve.rollout.files import RolloutFiles
from raymi.serve.stage import Deployment
from raymi.serve.tokens import bearer, forget_token, token_path
from raymi.serve.tuning.evidence import Evidence, LoadRun
from raymi.settings import settings
from raymi.specs.deploy import DeploySpec

_READY_TIMEOUT_S = 300.0
_GONE_TIMEOUT_S = 60.0
_WARM_UP_S = 2.0
_ANSWER_TIMEOUT_S = 10.0
_LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Place:
    """Where candidates are deployed."""

    client: ServeClient
    store: ModelStore
    http_options: Mapping[str, Any]
    application: str
    """Name and route of the temporary application."""


def deploy_spec(evidence: Evidence, index: int) -> DeploySpec:
    """A candidate as a deploy spec, at the default route under the model's name.

    It names the version that is measured, as an alias may stand for another one later, and the
    accelerators, as another cluster may have some where this one has none.
    """
    candidate = evidence.candidates[index]
    way = evidence.ways[candidate.way]
    return DeploySpec.from_document(
        {
            "kind": "deploy",
            "model": evidence.model,
            "backend": way.backend.value,
            "precision": way.precision.value,
            "num_replicas": candidate.num_replicas,
            "cpus_per_replica": candidate.num_cpus / candidate.num_replicas,
            "accelerators_per_replica": evidence.accelerators_per_replica,
            "batching": {
                "max_batch_size": candidate.max_batch_size,
                "max_wait_ms": candidate.max_wait_ms,
            },
        }
    )


@contextlib.contextmanager
def deployed(spec: DeploySpec, place: Place) -> Iterator[Deployment]:
    """Deploy under the temporary name; gone when the block ends, however it ends.

    Raises:
        DeploymentError, ConflictError: It cannot be deployed.
    """
    name = place.application
    temporary = spec.model_copy(update={"name": name, "route_prefix": f"/{name}"})
    try:
        yield stage.run(
            temporary,
            client=place.client,
            store=place.store,
            http_options=place.http_options,
            timeout_s=_READY_TIMEOUT_S,
        )
    finally:
        take_away(place)


def take_away(place: Place) -> None:
    """Remove the temporary application and what belongs to it."""
    here = settings()
    try:
        with contextlib.suppress(NotFoundError):
            place.client.remove(place.application)
            place.client.wait_until_gone(place.application, timeout_s=_GONE_TIMEOUT_S)
    finally:
        RolloutFiles(here.store_dir, place.application).remove()
        forget_token(here.home_dir, place.application)


def request_bodies(rows: Sequence[Mapping[str, Any]], rows_per_request: int) -> list[bytes]:
    """Bodies for `POST /predict`; rows are used again where there are too few."""
    num_rows = len(rows)
    return [
        json.dumps(
            {"rows": [rows[(start + k) % num_rows] for k in range(rows_per_request)]},
            separators=(",", ":"),
        ).encode()
        for start in range(0, max(num_rows, 1), rows_per_request)
    ]


def put_under_load(
    deployment: Deployment, bodies: Sequence[bytes], arrivals_s: np.ndarray
) -> Outcome:
    """Send requests when they are due, whatever becomes of earlier ones.

    Raises:
        UnreachableError: The endpoint is not on this machine.
    """
    address = urlsplit(deployment.endpoint)
    if address.hostname not in _LOOPBACK or address.port is None:
        raise UnreachableError(
            f"{deployment.endpoint}: not on this machine",
            why="load is sent over the loopback interface",
            fix="run this on the machine that Serve's proxy listens on",
        )
    token = token_path(settings().home_dir, deployment.application)
    headers = bearer(token if deployment.token_path is not None else None)
    requests = [
        request_bytes(
            f"{address.path}/predict", body, content_type="application/json", headers=headers
        )
        for body in bodies
    ]
    early = arrivals_s[arrivals_s < _WARM_UP_S]
    if len(early):
        open_loop(address.port, requests, early, timeout_s=_ANSWER_TIMEOUT_S)
    return open_loop(address.port, requests, arrivals_s, timeout_s=_ANSWER_TIMEOUT_S)


def measure(
    candidate: int,
    spec: DeploySpec,
    place: Place,
    *,
    bodies: Sequence[bytes],
    arrivals_s: np.ndarray,
    number: int,
) -> LoadRun:
    """Deploy a candidate anew, put it under load, take it away.

    Raises:
        DeploymentError: It did not become healthy.
    """
    began_s = time.monotonic()
    with deployed(spec, place) as deployment:
        ready_s = time.monotonic() - began_s
        outcome = put_under_load(deployment, bodies, arrivals_s)
    return LoadRun(
        candidate=candidate,
        round=number,
        latencies_ms=tuple(round(seconds * 1000.0, 3) for seconds in outcome.latencies_s),
        num_failed=outcome.failed + len(outcome.rejected_latencies_s),
        duration_s=max(outcome.duration_s, 1e-9),
        ready_s=ready_s,
        why_failed=_first_failure(outcome),
    )


def _first_failure(outcome: Outcome) -> str | None:
    for raw in (outcome.first_fault, outcome.first_rejection):
        if raw and (answer := parse_answer(raw)) is not None:
            text = answer.body.decode(errors="replace")
            return f"HTTP {answer.status}: {' '.join(text.split())[:200]}"
    return "no answer came" if outcome.lost else None
