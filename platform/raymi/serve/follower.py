"""One model of a replica: its versions follow its own rollout, and it counts its own answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field

from raymi.errors import NotFoundError, RaymiError
from raymi.serve.metrics import ReplicaMetrics, RequestMetrics
from raymi.serve.rollout.files import RolloutFiles
from raymi.serve.rollout.report import ReplicaReport
from raymi.serve.rollout.state import Rollout, in_force
from raymi.serve.versions import ModelVersions

_LOOK_INTERVAL_S = 0.1
"""How often a replica looks for another rollout: a rollback is to take effect within a second."""

_JUDGE_INTERVAL_S = 0.5
_REPORT_INTERVAL_S = 2.0
_FORGOTTEN_AFTER_S = 60.0

_log = logging.getLogger("ray.serve")


@dataclass(slots=True)
class Follower:
    """A model in one replica. Belongs to one event loop."""

    versions: ModelVersions
    """What is loaded."""

    files: RolloutFiles
    """What it follows, and where it reports."""

    replica: str
    """The replica's id."""

    metrics: RequestMetrics = field(default_factory=RequestMetrics)
    """Its answers."""

    _watching: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.versions.name

    def start(self, fixed: Rollout | None) -> None:
        """Load the version that answers; blocks. What a rollout says later is followed anyway.

        Args:
            fixed: What to serve for ever; None: what its rollout says.

        Raises:
            NotFoundError: It has no rollout.
            Exception: No version of it can be loaded.
        """
        if fixed is None:
            # Serve calls this in its event loop.
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        self.versions.start(fixed or require_rollout(self.files))

    def check(self) -> None:
        """Raise if the replica should be replaced.

        Raises:
            RuntimeError: A forward pass does not come back, or the rollout is not followed.
        """
        self.versions.check()
        if self._watching is not None and self._watching.done():
            raise RuntimeError(f"this replica does not follow {self.name}'s rollout any more")

    async def counts(self) -> list[ReplicaMetrics]:
        """What all replicas have counted: this one until now, others until they last said so."""
        reports = await asyncio.to_thread(self.files.reports)
        own = self.versions.report(self.metrics)
        if own is not None:
            reports[self.replica] = own
        fresh_s = time.time() - _FORGOTTEN_AFTER_S
        return [
            ReplicaMetrics(
                model=self.name,
                replica=report.replica,
                active_version=report.active.version if report.active else None,
                snapshot=report.metrics,
            )
            for report in reports.values()
            if report.at_s > fresh_s
        ]

    def withdraw(self) -> None:
        """The replica is to go."""
        with contextlib.suppress(OSError):
            self.files.withdraw(self.replica)

    async def _watch(self) -> None:
        """Follow the rollout, judge what is tried, and say how it goes; until the process ends."""
        rollout: Rollout | None = None
        judged_s = 0.0
        told: ReplicaReport | None = None
        await asyncio.to_thread(self.files.prune, older_than_s=_FORGOTTEN_AFTER_S)
        while True:
            try:
                found = await asyncio.to_thread(self.files.read)
                if found is not None and found != rollout:
                    rollout = found
                    self.versions.follow(rollout)
                now_s = time.monotonic()
                if rollout is not None and now_s - judged_s >= _JUDGE_INTERVAL_S:
                    judged_s = now_s
                    breach = self.versions.judge()
                    if breach is not None:
                        # Here at once; the note is for the other replicas, and for those to come.
                        self.versions.follow(in_force(rollout, breach))
                        await asyncio.to_thread(self.files.take_back, breach)
                report = self.versions.report(self.metrics)
                if report is not None and is_news(report, told):
                    await asyncio.to_thread(self.files.report, report)
                    told = report
            except (OSError, RaymiError) as error:
                # Storage may be away for a while: what is loaded goes on answering.
                _log.warning("the rollout cannot be read: %s", error)
            await asyncio.sleep(_LOOK_INTERVAL_S)


def start_all(followers: tuple[Follower, ...], fixed: dict[str, Rollout]) -> None:
    """Load every model; one that cannot be loaded leaves the others.

    Args:
        followers: The models.
        fixed: By name, what to serve for ever instead of what a rollout says.

    Raises:
        Exception: None of them can be loaded: why the first could not.
    """
    failures: list[Exception] = []
    for follower in followers:
        try:
            follower.start(fixed.get(follower.name))
        except Exception as error:  # noqa: BLE001 - whatever a network's own code may raise
            failures.append(error)
            _log.error("%s does not answer here: %s", follower.name, error)
    if len(failures) == len(followers):
        raise failures[0]


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
