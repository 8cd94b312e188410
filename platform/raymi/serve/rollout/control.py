"""Change a rollout from outside: prepare, try, complete, roll back; and wait for the replicas.

A version is first loaded by every replica without traffic. Only when all of them have checked it
does it answer, and then all of them change within a fraction of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from raymi.errors import ConflictError, DeploymentError, NotFoundError
from raymi.serve.rollout import state
from raymi.serve.rollout.files import RolloutFiles
from raymi.serve.rollout.report import ReplicaReport
from raymi.serve.rollout.state import Rollout, VersionRef
from raymi.specs.deploy import BreachRules

_POLL_INTERVAL_S = 0.05

RunningReplicas = Callable[[], frozenset[str]]
"""Ids of the replicas that take requests now."""


@dataclass(frozen=True, slots=True)
class Share:
    """Of requests, for a version that is tried."""

    canary_percent: float = 0.0
    """Answered by it."""

    shadow_percent: float = 0.0
    """Computed by it too, for comparison."""

    @property
    def is_trial(self) -> bool:
        """Whether it is only tried."""
        return bool(self.canary_percent or self.shadow_percent)


class RolloutControl:
    """The rollout of one model of an application."""

    def __init__(
        self,
        files: RolloutFiles,
        running: RunningReplicas,
        *,
        sleeps: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at nothing yet.

        Args:
            files: Of the application.
            running: Who must have loaded a version before it answers.
            sleeps: Whether there are no replicas because nobody asks: then a version is loaded and
                checked when one starts, and if it fails there, the one before answers.
            sleep: Waits so many seconds.
            now_s: Monotonic seconds.
        """
        self._files = files
        self._running = running
        self._sleeps = sleeps
        self._sleep = sleep
        self._now_s = now_s

    def current(self) -> Rollout:
        """The rollout in force.

        Raises:
            NotFoundError: The application is not deployed.
        """
        rollout = self._files.read()
        if rollout is None:
            raise NotFoundError(
                f"{self._files.directory.name}: not deployed",
                why="it has no rollout",
                fix="`raymi deployments` lists what is",
            )
        return rollout

    def deploy(
        self, version: VersionRef, rules: BreachRules, *, share: Share, timeout_s: float
    ) -> Rollout:
        """Let a version answer, or try it; the one before goes on until every replica is ready.

        Raises:
            DeploymentError: A replica could not load it, or it failed its golden examples; it never
                got a request.
            ConflictError: Somebody else changed the rollout meanwhile.
        """
        before = self.current()
        if before.active == version and not share.is_trial:
            again = state.deployed_again(before, rules)
            return before if again == before else self._put(again)
        prepared = self._put(state.prepared(before, version, rules))
        try:
            self._wait_until_loaded(prepared, version, timeout_s=timeout_s)
        except DeploymentError as error:
            if self.current() == prepared:
                self._put(state.abandoned(prepared, f"{error.what}: {error.why}"))
            raise
        self._require(prepared)
        if share.is_trial:
            tried = state.tried(
                prepared,
                canary_percent=share.canary_percent,
                shadow_percent=share.shadow_percent,
            )
            return self._put_and_wait(tried)
        return self._put_and_wait(state.completed(prepared))

    def wait_until_it_answers(self, *, timeout_s: float) -> None:
        """Wait until every running replica has the version that should answer.

        Raises:
            DeploymentError: One could not load it, or did not in time.
        """
        now = self.current()
        self._wait_until_loaded(now, now.active, timeout_s=timeout_s)

    def complete(self) -> Rollout:
        """Let the version that is tried answer everything.

        Raises:
            ConflictError: Nothing is tried.
        """
        now = self.current()
        if now.candidate is None:
            raise ConflictError(
                "nothing is being tried",
                why=f"{now.active.described} answers everything: {now.reason}",
                fix="deploy a version with --canary or --shadow first",
            )
        return self._put_and_wait(state.completed(now))

    def roll_back(self, reason: str) -> Rollout:
        """Take back the version that is tried, or else the one that answers.

        Raises:
            ConflictError: There is nothing to go back to.
        """
        now = self.current()
        if now.candidate is not None:
            return self._put_and_wait(state.abandoned(now, reason))
        if now.previous is None:
            raise ConflictError(
                f"{now.active.described}: nothing to roll back to",
                why=f"no other version is kept; {now.reason}",
                fix="deploy another version",
            )
        return self._put_and_wait(state.rolled_back(now, reason))

    def reports(self) -> dict[str, ReplicaReport]:
        """What the running replicas have said last, by id."""
        running = self._running()
        return {k: report for k, report in self._files.reports().items() if k in running}

    def _put(self, rollout: Rollout) -> Rollout:
        self._files.write(rollout)
        return rollout

    def _put_and_wait(self, rollout: Rollout, *, timeout_s: float = 30.0) -> Rollout:
        """Put a rollout in force, and return once every replica follows it."""
        self._put(rollout)
        deadline_s = self._now_s() + timeout_s
        while True:
            reports = self.reports()
            if all(r.generation >= rollout.generation for r in reports.values()):
                self._require(rollout)
                return rollout
            if self._now_s() >= deadline_s:
                behind = [k for k, r in reports.items() if r.generation < rollout.generation]
                raise DeploymentError(
                    f"{len(behind)} replicas did not follow within {timeout_s:.0f} s",
                    why="they do not look at the store, or have not begun to",
                    fix="look again with `raymi rollout`",
                )
            self._sleep(_POLL_INTERVAL_S)

    def _wait_until_loaded(
        self, rollout: Rollout, version: VersionRef, *, timeout_s: float
    ) -> None:
        deadline_s = self._now_s() + timeout_s
        is_new = version != rollout.active
        goes_on = rollout.active.described if is_new else "what else is served there"
        while True:
            self._require(rollout)
            waiting = 0
            running = self._running()
            reports = self._files.reports()
            for replica in running:
                report = reports.get(replica)
                found = report.of(version) if report else None
                is_about_it = report is not None and report.generation >= rollout.generation
                if found is None or not is_about_it or found.condition == "loading":
                    waiting += 1
                elif found.condition == "failed":
                    raise DeploymentError(
                        f"{version.described} was refused by replica {replica}",
                        why=found.reason or "no reason given",
                        fix=f"{goes_on} goes on answering; deploy another version",
                    )
            if not waiting and (running or self._sleeps()):
                return
            if self._now_s() >= deadline_s:
                raise DeploymentError(
                    f"{version.described} was not loaded after {timeout_s:.0f} s",
                    why=f"{waiting} of {len(running)} replicas have not finished",
                    fix=f"{goes_on} goes on answering; try again with --timeout",
                )
            self._sleep(_POLL_INTERVAL_S)

    def _require(self, rollout: Rollout) -> None:
        """Check that a rollout is still in force.

        Raises:
            ConflictError: Somebody else changed it.
            DeploymentError: A replica took its version back.
        """
        now = self.current()
        if now == rollout:
            return
        breach = self._files.breach()
        if breach is not None and breach.generation == rollout.generation:
            raise DeploymentError(
                f"{breach.version.described} was taken back",
                why=breach.reason,
                fix=f"{now.active.described} answers; `raymi rollout` shows how they compare",
            )
        raise ConflictError(
            "the rollout was changed by somebody else meanwhile",
            why=f"now: {now.reason}",
            fix="look at it with `raymi rollout`, then ask again",
        )
