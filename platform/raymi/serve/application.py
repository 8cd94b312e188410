"""What `serve run` and Serve's REST interface import: arguments in, application out."""

from __future__ import annotations

from typing import Any

from ray import serve

from raymi.registry.store import open_store
from raymi.serve.deployment import deployment
from raymi.serve.identity import ServedModel
from raymi.serve.plan import plan, spec_from_arguments


def build(arguments: dict[str, Any]) -> serve.Application:
    """Build the application that serves one model.

    `serve run serve_apps.model_server:build model=digits@champion batching.max_wait_ms=1`

    The alias is resolved here, once: every replica, also one that starts days later, serves the
    version that was meant when the application was deployed.

    Args:
        arguments: Fields of a DeploySpec by dotted path; text is read as YAML.

    Raises:
        SpecError: An argument is wrong.
        NotFoundError: There is no such model, version or alias.
    """
    spec = spec_from_arguments(arguments)
    version = open_store().resolve(spec.model)
    settled = plan(spec, swept_batch_size=version.micro_batch_size)
    served = ServedModel(
        name=version.name,
        version=version.version,
        fingerprint=version.fingerprint,
        precision=str(version.precision),
        max_batch_size=settled.batch.max_batch_size,
    )
    application: serve.Application = deployment(spec, settled).bind(
        str(version.path), served, settled
    )
    return application
