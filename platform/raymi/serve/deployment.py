"""The Ray Serve deployment: a replica that follows its models' rollouts, and answers."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

from ray import serve
from ray.serve.config import BackpressureConfig
from ray.serve.schema import LoggingConfig

from raymi.serve.haproxy import MAX_PER_REPLICA
from raymi.serve.identity import DEPLOYMENT_NAME, ServedModel
from raymi.serve.metrics import exposition
from raymi.serve.plan import plan, replica_resources
from raymi.serve.rollout.files import RolloutFiles
from raymi.serve.rollout.state import Rollout, VersionRef
from raymi.serve.scaling import RUNNING_REQUESTS, autoscaling_config
from raymi.settings import settings
from raymi.specs.deploy import DeploySpec

if TYPE_CHECKING:
    from raymi.evaluate.predictor import Predictor
    from raymi.registry.bundle import Bundle
    from raymi.serve.api import ModelApi
    from raymi.serve.follower import Follower
    from raymi.serve.host import ModelHost

_HEALTH_CHECK_PERIOD_S = 2.0
_HEALTH_CHECK_TIMEOUT_S = 30.0
_GRACE_LOOP_S = 0.5
_GRACE_S = 30.0
# Requests under way are a few thousand objects. With Python's 700 those would be looked through for
# cycles, of which they have none, several times in a batch: a sixth of a busy replica's time.
_COLLECT_AFTER = 20_000
# A bundle that cannot be loaded will not load better the twentieth time (Ray's default).
_MAX_STARTS = 3


class ModelServer:
    """One replica."""

    def __init__(self, spec: DeploySpec, fixed: dict[str, Rollout]) -> None:
        """Load and warm the versions that answer; Serve sends requests only after this.

        Args:
            spec: How to serve, and which models.
            fixed: By model, what to serve for ever; others follow the application's rollouts.

        Raises:
            IntegrityError: The only model's bundle is not the one that was registered.
            NotFoundError: The application has no rollout.
            InfeasibleError: Ray reserved an accelerator, and there is none.
        """
        # Loaded here, so that building the application does not need torch.
        import torch

        from raymi.evaluate.network import default_device
        from raymi.serve.accelerator import take_share
        from raymi.serve.follower import start_all

        self._spec = spec
        settled = plan(spec, swept_batch_size=1)
        gc.set_threshold(_COLLECT_AFTER)
        self._num_threads = settled.num_threads
        torch.set_num_threads(self._num_threads)
        self._accelerator_share: float | None = None
        self._device = torch.device("cpu")
        # Before a model is loaded: what is allocated already would not be bounded.
        if spec.accelerators_per_replica:
            take_share(settled.accelerator_share)
            self._accelerator_share = settled.accelerator_share
            self._device = default_device()
        self._request_limits = settled.request
        self._replica = serve.get_replica_context().replica_id.unique_id
        self._application = spec.name or spec.model_names[0]
        self._api: ModelApi | None = None
        self._models = tuple(self._follower(name) for name in spec.model_names)
        start_all(self._models, fixed)

    def _follower(self, model: str) -> Follower:
        from raymi.serve.follower import Follower
        from raymi.serve.versions import ModelVersions

        further = None if model == self._spec.model_names[0] else model
        return Follower(
            ModelVersions(model, self._load_if_it_fits, replica=self._replica),
            RolloutFiles(settings().store_dir, self._application, further=further),
            self._replica,
        )

    def __serve_build_asgi_app__(self) -> ModelApi:
        from raymi.serve.api import Served, build_api
        from raymi.serve.guard import Access, Guard
        from raymi.serve.ingress import answer_directly

        access = self._spec.access
        guard = Guard(
            Access(
                token_sha256=access.token_sha256 if access.mode == "token" else (),
                requests_per_s=access.requests_per_s,
                burst=access.burst,
            )
        )
        first, *also = self._models
        api = build_api(
            first.versions,
            self._request_limits,
            guard,
            also=[Served(model.versions, model.metrics.answered) for model in also],
            observe=first.metrics.answered,
            exposition=self._expose,
        )
        once_reached = None
        if settings().grpc_port is not None:
            from raymi.serve.grpc.server import ReplicaServer

            # Kept here: a server that nobody knows any more stops.
            self._grpc = ReplicaServer(api.over_grpc())
            once_reached = self._grpc.listen_beside
        answer_directly(api, route_prefix=self._spec.route_prefix, once_reached=once_reached)
        self._api = api
        return api

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve every few seconds where it scales."""
        return {} if self._api is None else {RUNNING_REQUESTS: self._api.ongoing.mean()}

    def check_health(self) -> None:
        """Called by Serve every few seconds; three failures replace the replica."""
        for model in self._models:
            model.check()

    async def _expose(self) -> bytes:
        """What all replicas have counted."""
        counts = [count for model in self._models for count in await model.counts()]
        return exposition(self._application, counts)

    def __del__(self) -> None:
        """Called by Serve when the replica is to go."""
        for model in getattr(self, "_models", ()):
            model.withdraw()

    def _load_if_it_fits(self, version: VersionRef) -> ModelHost:
        from raymi.serve.backends.build import HAVE_A_FILE
        from raymi.serve.memory import room_for

        with room_for(
            Path(version.path),
            version.described,
            accelerator_share=self._accelerator_share,
            is_built=version.backend in HAVE_A_FILE,
        ):
            return self._load(version)

    def _load(self, version: VersionRef) -> ModelHost:
        """Load a version, warm it, and check that it is what was registered; blocks."""
        from raymi.registry.bundle import load_bundle
        from raymi.serve.host import ModelHost

        bundle = load_bundle(Path(version.path), fingerprint=version.fingerprint)
        spec = self._spec.model_copy(update={"batching": version.batching})
        at_once = settings().haproxy_max_per_replica or MAX_PER_REPLICA
        limits = plan(spec, swept_batch_size=version.max_batch_size, max_at_once=at_once).batch
        served = ServedModel(
            name=version.name,
            version=version.version,
            fingerprint=version.fingerprint,
            precision=version.precision,
            max_batch_size=limits.max_batch_size,
            backend=version.backend,
            serving_precision=version.serving_precision,
        )
        host = ModelHost(bundle, served, limits, predictor=self._predictor(bundle, version))
        host.warm_up()
        host.check_golden(bundle.golden(), version.serving_precision)
        # From here on it counts what is asked of it.
        host.batch_sizes.clear()
        return host

    def _predictor(self, bundle: Bundle, version: VersionRef) -> Predictor:
        """The network as the rollout asks for it, which may be as it was evaluated."""
        from raymi.evaluate.predictor import Predictor
        from raymi.serve.backends.catalog import open_backend
        from raymi.serve.tuning.ways import served_precision
        from raymi.specs.backend import BackendName

        if version.backend is BackendName.EAGER and version.serving_precision is None:
            return bundle.predictor(self._device)
        backend = open_backend(
            bundle,
            version.backend,
            version.serving_precision or served_precision(bundle.precision),
            num_threads=self._num_threads,
            device=self._device,
            cache_dir=settings().store_dir / "converted",
        )
        return Predictor(backend, bundle.preprocessing)


def deployment(spec: DeploySpec, *, max_batch_size: int = 1) -> serve.Deployment:
    """The deployment with the spec's resources and limits.

    A replica with another spec starts beside the old one (`max_surge_percent`), so that an update
    never takes the application down and one that does not start leaves the old one serving.

    Args:
        spec: How to serve.
        max_batch_size: Rows in one forward pass, which decides how many requests are enough for one
            replica; used where the spec scales.
    """
    ongoing = spec.max_ongoing_requests or _most_ongoing(spec)
    return serve.deployment(
        serve.ingress()(ModelServer),
        name=DEPLOYMENT_NAME,
        num_replicas=None if spec.scaling else spec.num_replicas,
        autoscaling_config=spec.scaling
        and autoscaling_config(spec.scaling, max_batch_size=max_batch_size),
        ray_actor_options=replica_resources(spec),
        max_ongoing_requests=ongoing,
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


def _most_ongoing(spec: DeploySpec) -> int:
    """Requests that Serve lets a replica hold: the replica's own queue is what bounds them."""
    return max(1024, 4 * (spec.batching.max_batch_size or 0)) + spec.max_queued_requests
