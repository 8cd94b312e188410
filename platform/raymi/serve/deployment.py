"""The Ray Serve deployment: a replica loads one verified bundle, warms it, and answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ray import serve
from ray.serve.config import BackpressureConfig
from ray.serve.schema import LoggingConfig

from raymi.serve.identity import ServedModel
from raymi.serve.plan import ServingPlan
from raymi.specs.deploy import DeploySpec

if TYPE_CHECKING:
    from raymi.serve.api import ModelApi

DEPLOYMENT_NAME = "ModelServer"

_HEALTH_CHECK_PERIOD_S = 2.0
_HEALTH_CHECK_TIMEOUT_S = 30.0
_GRACE_LOOP_S = 0.5
_GRACE_S = 20.0
# A bundle that cannot be loaded will not load better the twentieth time (Ray's default).
_MAX_STARTS = 3


class ModelServer:
    """One replica."""

    def __init__(self, bundle_dir: str, served: ServedModel, plan: ServingPlan) -> None:
        """Load and warm the model; Serve sends requests only after this returns.

        Raises:
            IntegrityError: The bundle is not the one that was registered.
        """
        # Loaded here, so that building the application does not need torch.
        import torch

        from raymi.registry.bundle import load_bundle
        from raymi.serve.host import ModelHost

        torch.set_num_threads(plan.num_threads)
        bundle = load_bundle(Path(bundle_dir), fingerprint=served.fingerprint)
        self._plan = plan
        self._host = ModelHost(bundle, served, plan.batch)
        self._host.warm_up()

    def __serve_build_asgi_app__(self) -> ModelApi:
        from raymi.serve.api import build_api
        from raymi.serve.guard import Access, Guard
        from raymi.serve.ingress import answer_directly
        from raymi.serve.single import Single
        api = build_api(Single(self._host), self._plan.request, Guard(Access()))
        answer_directly(api, route_prefix="/")
        return api

    def check_health(self) -> None:
        """Called by Serve every few seconds; three failures replace the replica."""
        self._host.check()


def deployment(spec: DeploySpec, plan: ServingPlan) -> serve.Deployment:
    """The deployment with the spec's resources and limits.

    A new version starts beside the old one (`max_surge_percent`), so that an update never takes
    the application down and a version that does not start leaves the old one serving.
    """
    return serve.deployment(
        serve.ingress()(ModelServer),
        name=DEPLOYMENT_NAME,
        num_replicas=spec.num_replicas,
        ray_actor_options={"num_cpus": spec.cpus_per_replica},
        max_ongoing_requests=plan.max_ongoing_requests,
        max_queued_requests=spec.max_queued_requests,
        max_constructor_retry_count=_MAX_STARTS,
        max_surge_percent=100,
        health_check_period_s=_HEALTH_CHECK_PERIOD_S,
        health_check_timeout_s=_HEALTH_CHECK_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=_GRACE_LOOP_S,
        graceful_shutdown_timeout_s=_GRACE_S,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
        # One line for each request costs about a tenth of the throughput.
        logging_config=LoggingConfig(enable_access_log=False),
    )
