"""From registered versions to what a rollout says of them."""

from __future__ import annotations

from raymi.registry.version import ModelVersion
from raymi.serve.plan import plan
from raymi.serve.rollout.state import VersionRef
from raymi.specs.deploy import DeploySpec

FOLLOWS_ROLLOUT = "rollout"
"""In place of an alias: the version that the application's rollout names, whichever that is."""


def reference_to(version: ModelVersion, spec: DeploySpec) -> VersionRef:
    """As much of a registered version, and of how the spec wants it run, as a replica needs.

    Raises:
        SpecError: The spec's limits do not suit the version's batch.
    """
    limits = plan(spec, swept_batch_size=version.micro_batch_size).batch
    return VersionRef(
        name=version.name,
        version=version.version,
        fingerprint=version.fingerprint,
        path=version.path,
        precision=str(version.precision),
        batching=spec.batching.model_copy(update={"max_batch_size": limits.max_batch_size}),
        backend=spec.backend,
        serving_precision=spec.precision,
    )
