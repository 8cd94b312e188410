"""The Ray Serve deployment: a replica that follows its application's rollout, and answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ray import serve
from ray.serve.config import BackpressureConfig
from ray.serve.schema import LoggingConfig

from raymi.errors import NotFoundError, RaymiError
from raymi.serve.identity import DEPLOYMENT_NAME, ServedModel
from raymi.serve.metrics import ReplicaMetrics, RequestMetrics, exposition
from raymi.serve.plan import plan
from raymi.serve.rollout.files import RolloutFiles
from raymi.serve.rollout.report import ReplicaReport
from raymi.serve.rollout.state import Rollout, VersionRef, in_force
from raymi.settings import settings
from raymi.specs.deploy import DeploySpec

if TYPE_CHECKING:
    from raymi.serve.api import ModelApi
    from raymi.serve.host import ModelHost

_LOOK_INTERVAL_S = 0.1
"""How often a replica looks for another rollout: a rollback is to take effect within a second."""

_JUDGE_INTERVAL_S = 0.5
_REPORT_INTERVAL_S = 2.0
_FORGOTTEN_AFTER_S = 60.0
_HEALTH_CHECK_PERIOD_S = 2.0
_HEALTH_CHECK_TIMEOUT_S = 30.0
_GRACE_LOOP_S = 0.5
_GRACE_S = 30.0
# A bundle that cannot be loaded will not load better the twentieth time (Ray's default).
_MAX_STARTS = 3

_log = logging.getLogger("ray.serve")


class ModelServer:
    """One replica."""

    def __init__(self, spec: DeploySpec, model: str, fixed: Rollout | None) -> None:
        """Load and warm the version that answers; Serve sends requests only after this.

        Args:
            spec: How to serve.
            model: The model's name on the wire.
            fixed: What to serve for ever; None: what the application's rollout says.

        Raises:
            IntegrityError: The bundle is not the one that was registered.
            NotFoundError: The application has no rollout.
        """
        # Loaded here, so that building the application does not need torch.
        import torch

        from raymi.serve.versions import ModelVersions

        self._spec = spec
        settled = plan(spec, swept_batch_size=1)
        torch.set_num_threads(settled.num_threads)
        self._request_limits = settled.request
        self._replica = serve.get_replica_context().replica_id.unique_id
        self._files = RolloutFiles(settings().store_dir, spec.name or model)
        self._versions = ModelVersions(model, self._load, replica=self._replica)
        self._metrics = RequestMetrics()
        self._application = spec.name or model
        self._versions.start(fixed or require_rollout(self._files))
        self._watching: asyncio.Task[None] | None = None
        if fixed is None:
            # Serve calls this in its event loop.
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    def __serve_build_asgi_app__(self) -> ModelApi:
        from raymi.serve.api import build_api
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
        api = build_api(
            self._versions,
            self._request_limits,
            guard,
            observe=self._metrics.answered,
            exposition=self._expose,
        )
        once_reached = None
        if settings().grpc_port is not None:
            from raymi.serve.grpc.server import ReplicaServer

            once_reached = ReplicaServer(api.over_grpc()).listen_beside
        answer_directly(api, route_prefix=self._spec.route_prefix, once_reached=once_reached)
        return api

    def check_health(self) -> None:
        """Called by Serve every few seconds; three failures replace the replica."""
        self._versions.check()
        if self._watching is not None and self._watching.done():
            raise RuntimeError("this replica does not follow its rollout any more")

    async def _expose(self) -> bytes:
        """What all replicas have counted: this one until now, others until they last said so."""
        reports = await asyncio.to_thread(self._files.reports)
        own = self._versions.report(self._metrics)
        if own is not None:
            reports[self._replica] = own
        fresh_s = time.time() - _FORGOTTEN_AFTER_S
        return exposition(
            self._application,
            [
                ReplicaMetrics(
                    replica=report.replica,
                    active_version=report.active.version,
                    snapshot=report.metrics,
                )
                for report in reports.values()
                if report.at_s > fresh_s
            ],
        )

    def __del__(self) -> None:
        """Called by Serve when the replica is to go."""
        with contextlib.suppress(AttributeError, OSError):
            self._files.withdraw(self._replica)

    def _load(self, version: VersionRef) -> ModelHost:
        """Load a version, warm it, and check that it is what was registered; blocks."""
        from raymi.registry.bundle import load_bundle
        from raymi.serve.host import ModelHost

        bundle = load_bundle(Path(version.path), fingerprint=version.fingerprint)
        limits = plan(self._spec, swept_batch_size=version.swept_batch_size).batch
        served = ServedModel(
            name=version.name,
            version=version.version,
            fingerprint=version.fingerprint,
            precision=version.precision,
            max_batch_size=limits.max_batch_size,
        )
        host = ModelHost(bundle, served, limits)
        host.warm_up()
        host.check_golden(bundle.golden())
        # From here on it counts what is asked of it.
        host.batch_sizes.clear()
        return host

    async def _watch(self) -> None:
        """Follow the rollout, judge what is tried, and say how it goes; until the process ends."""
        rollout: Rollout | None = None
        judged_s = 0.0
        told: ReplicaReport | None = None
        await asyncio.to_thread(self._files.prune, older_than_s=_FORGOTTEN_AFTER_S)
        while True:
            try:
                found = await asyncio.to_thread(self._files.read)
                if found is not None and found != rollout:
                    rollout = found
                    self._versions.follow(rollout)
                now_s = time.monotonic()
                if rollout is not None and now_s - judged_s >= _JUDGE_INTERVAL_S:
                    judged_s = now_s
                    breach = self._versions.judge()
                    if breach is not None:
                        # Here at once; the note is for the other replicas, and for those to come.
                        self._versions.follow(in_force(rollout, breach))
                        await asyncio.to_thread(self._files.take_back, breach)
                report = self._versions.report(self._metrics)
                if report is not None and is_news(report, told):
                    await asyncio.to_thread(self._files.report, report)
                    told = report
            except (OSError, RaymiError) as error:
                # Storage may be away for a while: what is loaded goes on answering.
                _log.warning("the rollout cannot be read: %s", error)
            await asyncio.sleep(_LOOK_INTERVAL_S)


def is_news(report: ReplicaReport, told: ReplicaReport | None) -> bool:
    """Whether a report says something that the last one did not, or the last one is old."""
    if told is None or report.at_s - told.at_s >= _REPORT_INTERVAL_S:
        return True
    return (report.generation, report.active, report.versions) != (
        told.generation,
        told.active,
        told.versions,
    )


def require_rollout(files: RolloutFiles) -> Rollout:
    """The rollout in force.

    Raises:
        NotFoundError: There is none.
    """
    rollout = files.read()
    if rollout is None:
        raise NotFoundError(
            f"{files.directory}: no rollout",
            why="nothing says which version of the model this application serves",
            fix="deploy it with `raymi deploy`",
        )
    return rollout


def deployment(spec: DeploySpec) -> serve.Deployment:
    """The deployment with the spec's resources and limits.

    A replica with another spec starts beside the old one (`max_surge_percent`), so that an update
    never takes the application down and one that does not start leaves the old one serving.
    """
    ongoing = spec.max_ongoing_requests or _most_ongoing(spec)
    return serve.deployment(
        serve.ingress()(ModelServer),
        name=DEPLOYMENT_NAME,
        num_replicas=spec.num_replicas,
        ray_actor_options={"num_cpus": spec.cpus_per_replica},
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
