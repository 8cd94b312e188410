"""From registered versions to what a rollout says of them."""

from __future__ import annotations

from raymi.registry.version import ModelVersion
from raymi.serve.rollout.state import VersionRef

FOLLOWS_ROLLOUT = "rollout"
"""In place of an alias: the version that the application's rollout names, whichever that is."""


def reference_to(version: ModelVersion) -> VersionRef:
    """As much of a registered version as a replica needs."""
    return VersionRef(
        name=version.name,
        version=version.version,
        fingerprint=version.fingerprint,
        path=version.path,
        precision=str(version.precision),
        swept_batch_size=version.micro_batch_size,
    )
