"""From a deploy spec and a model version to numbers that agree with each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from raymi.errors import SpecError
from raymi.serve.batching import BatchLimits
from raymi.serve.haproxy import MAX_PER_REPLICA
from raymi.serve.identity import RequestLimits
from raymi.specs.deploy import DeploySpec
from raymi.specs.loading import build_spec
from raymi.specs.paths import NoSuchFieldError, assign, require_field
from raymi.specs.yaml_text import parse

_LEAST_ONGOING_REQUESTS = 64

_MOST_BYTES_AT_ONCE = 64 * 1024 * 1024
"""Of request bodies in one replica. Parsed JSON takes about ten times its text."""


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """Every limit of one replica."""

    batch: BatchLimits
    """When a batch leaves."""

    request: RequestLimits
    """What one request may be."""

    max_ongoing_requests: int
    """Requests a replica takes on at once: at least two full batches of single rows."""

    num_threads: int
    """Compute threads of a replica."""

    accelerator_share: float
    """Of its accelerator's memory that a replica may take; 1: all."""


def replica_resources(spec: DeploySpec) -> dict[str, float]:
    """What Ray reserves for each replica, by its own names.

    Accelerators are left out where none are wanted.
    """
    resources = {"num_cpus": spec.cpus_per_replica}
    if spec.accelerators_per_replica:
        resources["num_gpus"] = spec.accelerators_per_replica
    return resources


def plan(
    spec: DeploySpec, *, swept_batch_size: int, max_at_once: int = MAX_PER_REPLICA
) -> ServingPlan:
    """Settle what the spec leaves open.

    Args:
        spec: What was asked.
        max_at_once: Requests that HAProxy gives to one replica. Where a replica has several models,
            the rows that wait for one of them must not be all of these, or the others would get
            none.
        swept_batch_size: Rows per forward pass that the model's sweep or training used.

    Raises:
        SpecError: Fewer requests than two batches would be taken on at once.
    """
    max_batch_size = spec.batching.max_batch_size or swept_batch_size
    num_models = len(spec.model_names)
    ongoing = spec.max_ongoing_requests or max(_LEAST_ONGOING_REQUESTS, 4 * max_batch_size)
    if ongoing < 2 * max_batch_size:
        raise SpecError(
            f"max_ongoing_requests: {ongoing} is less than two batches",
            why=f"the model's batches hold {max_batch_size} rows: single-row requests could "
            "never fill one while another is computed",
            fix=f"--set max_ongoing_requests={2 * max_batch_size} or more, or leave it out",
        )
    waiting = max(ongoing, spec.max_queued_requests)
    if num_models > 1:
        waiting = min(waiting, max(2 * max_batch_size, max_at_once // num_models))
    return ServingPlan(
        batch=BatchLimits(
            max_batch_size=max_batch_size,
            max_wait_s=spec.batching.max_wait_ms / 1000.0,
            max_waiting_rows=waiting,
            max_age_s=spec.request_timeout_s,
        ),
        request=RequestLimits(
            max_request_bytes=spec.max_request_bytes,
            max_rows=spec.max_rows_per_request,
            max_bytes_at_once=max(_MOST_BYTES_AT_ONCE // num_models, spec.max_request_bytes),
            timeout_s=spec.request_timeout_s,
        ),
        max_ongoing_requests=ongoing,
        num_threads=max(1, int(spec.cpus_per_replica)),
        accelerator_share=min(1.0, spec.accelerators_per_replica or 1.0),
    )


def spec_from_arguments(arguments: Mapping[str, Any]) -> DeploySpec:
    """A deploy spec from `path=value` arguments, whose values `serve run` gives as text.

    Raises:
        SpecError: There is no such field, or its value is wrong.
    """
    document: dict[str, Any] = {"kind": "deploy"}
    for path, value in arguments.items():
        try:
            field = require_field(DeploySpec, path)
        except NoSuchFieldError as error:
            raise SpecError(
                f"{path}={value}: not a field of a deploy spec",
                why=str(error),
                fix="`raymi explain deploy` lists every path",
            ) from error
        is_text = field is not None and _is_text(field.annotation)
        assign(document, path, parse(value) if isinstance(value, str) and not is_text else value)
    spec = build_spec(DeploySpec, document, where="arguments")
    if not isinstance(spec, DeploySpec):
        raise TypeError(f"a deploy spec was validated as {type(spec).__name__}")
    return spec


def _is_text(annotation: Any) -> bool:
    """Whether a field may hold text, looking through Optional and Annotated, not into lists."""
    if get_origin(annotation) is tuple:
        return False
    return annotation is str or any(map(_is_text, get_args(annotation)))
