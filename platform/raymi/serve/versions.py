"""The versions of one model that a replica has loaded, and which of them gets the next request.

A version is loaded beside the others, warmed and checked against its golden examples before it
can get any; then to change who answers is to change a reference. A version that is tried is
watched, and taken back when it breaks the rules. What was loaded before stays until nobody waits
for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa

from raymi.errors import OverloadedError, RaymiError
from raymi.evaluate.predictor import Predictions
from raymi.serve.answering import Host
from raymi.serve.host import ModelHost
from raymi.serve.metrics import RequestMetrics
from raymi.serve.rollout.comparison import breach
from raymi.serve.rollout.report import ReplicaReport, VersionReport
from raymi.serve.rollout.state import Breach, Rollout, VersionRef
from raymi.serve.rollout.trial import Trial

_log = logging.getLogger("ray.serve")

_MOST_COMPARISONS_AT_ONCE = 32

Load = Callable[[VersionRef], ModelHost]
"""Loads, warms and checks a version; blocks; raises if it must not answer."""


class ModelVersions:
    """What `raymi.serve.answering.Models` asks for. Belongs to one event loop."""

    def __init__(self, name: str, load: Load, *, replica: str) -> None:
        """Have nothing loaded yet.

        Args:
            name: The model's name on the wire.
            load: Makes a version ready.
            replica: Who reports.
        """
        self.name = name
        self._load = load
        self._replica = replica
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load-version")
        self._hosts: dict[VersionRef, ModelHost] = {}
        self._loading: set[VersionRef] = set()
        self._failures: dict[VersionRef, str] = {}
        self._rollout: Rollout | None = None
        self._active: VersionRef | None = None
        self._trial: Trial | None = None
        self._comparing: set[asyncio.Task[None]] = set()

    def start(self, rollout: Rollout) -> None:
        """Load the version that answers, and be ready; blocks.

        If it cannot be loaded and there is a previous one, that one answers.

        Raises:
            Exception: None of them can, and why the last could not. A later rollout may name one
                that can.
        """
        why_not: Exception | None = None
        for version in (v for v in (rollout.active, rollout.previous) if v is not None):
            try:
                self._hosts[version] = self._load(version)
            except Exception as error:  # noqa: BLE001 - whatever a network's own code may raise
                self._failures[version] = _reason(error)
                why_not = error
            else:
                self._active = version
                break
        self._follow(rollout)
        if self._active is None and why_not is not None:
            raise why_not

    def follow(self, rollout: Rollout) -> None:
        """Do what a rollout says: at once as far as its versions are loaded, else once they are."""
        if rollout != self._rollout:
            self._failures = {}
            self._follow(rollout)

    def _follow(self, rollout: Rollout) -> None:
        self._rollout = rollout
        self._switch()
        for version in rollout.versions:
            if not self._is_known(version):
                self._loading.add(version)
                running = asyncio.get_running_loop().run_in_executor(
                    self._loader, self._load, version
                )
                running.add_done_callback(partial(self._loaded, version))

    def _is_known(self, version: VersionRef) -> bool:
        return version in self._hosts or version in self._loading or version in self._failures

    def _loaded(self, version: VersionRef, done: asyncio.Future[ModelHost]) -> None:
        self._loading.discard(version)
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            why = _reason(error)
            self._failures[version] = why
            _log.error("%s does not answer here: %s", version.described, why)
            return
        self._hosts[version] = done.result()
        self._switch()

    def _switch(self) -> None:
        """Let the rollout's versions answer, as far as they are loaded; drop all others."""
        rollout = self._rollout
        if rollout is None:
            return
        if rollout.active in self._hosts:
            self._active = rollout.active
        self._trial = self._wanted_trial(rollout)
        for version in set(self._hosts) - {*rollout.versions, self._active}:
            self._hosts.pop(version).retire()

    def _wanted_trial(self, rollout: Rollout) -> Trial | None:
        trial: VersionRef = rollout.active
        baseline: VersionRef | None = rollout.previous
        if rollout.candidate is not None and rollout.candidate in self._hosts:
            trial, baseline = rollout.candidate, rollout.active
        if baseline is None or not {trial, baseline} <= set(self._hosts):
            return None
        now = self._trial
        if now is not None and (now.trial, now.baseline) == (trial, baseline):
            return now
        return Trial(trial, baseline, tolerance=rollout.rules.number_tolerance)

    # Requests

    def active(self) -> ModelHost:
        """The version that answers, but for a share that another one may have.

        Raises:
            OverloadedError: None is loaded yet.
        """
        if self._active is None:
            is_hopeless = self._failures and not self._loading
            raise OverloadedError(
                "the model is not loaded",
                why="no version of it could be" if is_hopeless else "it is being loaded",
                fix="repeat the request later; `raymi rollout` says which versions there are",
                retry_after_s=10 if is_hopeless else 1,
            )
        return self._hosts[self._active]

    def pick(self) -> ModelHost:
        """The version that answers the next request.

        Raises:
            OverloadedError: None is loaded yet.
        """
        rollout = self._rollout
        if rollout is not None and rollout.canary_percent:
            candidate = self._hosts.get(rollout.candidate) if rollout.candidate else None
            # Drawn anew for each request: nobody can tell beforehand who is part of it.
            if candidate is not None and random.random() * 100.0 < rollout.canary_percent:  # noqa: S311
                return candidate
        return self.active()

    def version(self, number: str) -> ModelHost | None:
        """One that is loaded, by its number as text; the one that answers, if it has it."""
        if self._active is not None and str(self._active.version) == number:
            return self._hosts[self._active]
        return next((h for v, h in self._hosts.items() if str(v.version) == number), None)

    def instead_of(self, host: Host) -> Host | None:
        """A version that can answer where another one failed.

        Only the one that was trusted before stands in, for one that is new. What was taken back
        never answers again in another's place.
        """
        trial, rollout = self._trial, self._rollout
        if trial is None or rollout is None or self._hosts.get(trial.trial) is not host:
            return None
        is_new = trial.trial == rollout.candidate or rollout.on_probation
        return self._hosts.get(trial.baseline) if is_new else None

    def answered(
        self, host: Host, rows: pa.RecordBatch, predictions: Predictions, seconds: float
    ) -> None:
        """Told of every answer: counts it, and lets the other version predict a share of them."""
        trial, rollout = self._trial, self._rollout
        if trial is None or rollout is None:
            return
        is_trial = self._hosts.get(trial.trial) is host
        (trial.of_trial if is_trial else trial.of_baseline).answered(seconds)
        share = 100.0 if is_trial and rollout.canary_percent else rollout.shadow_percent
        if share and random.random() * 100.0 < share:  # noqa: S311 - as above
            self._compare_later(trial, host, rows, predictions)

    def failed(self, host: Host) -> None:
        """Told of every fault that was not the request's."""
        trial = self._trial
        if trial is not None:
            is_trial = self._hosts.get(trial.trial) is host
            (trial.of_trial if is_trial else trial.of_baseline).failed()

    def _compare_later(
        self, trial: Trial, host: Host, rows: pa.RecordBatch, predictions: Predictions
    ) -> None:
        """Predict the same rows with the other version, unless there is too much of it already."""
        is_trial = self._hosts.get(trial.trial) is host
        other = self._hosts.get(trial.baseline if is_trial else trial.trial)
        if other is None or other.signature.inputs != host.signature.inputs:
            return
        if len(self._comparing) >= _MOST_COMPARISONS_AT_ONCE:
            return
        # Without a lease it could be closed while these rows wait, and they would wait for ever.
        other.lease()
        task = asyncio.ensure_future(self._compare(trial, other, rows, predictions, is_trial))
        self._comparing.add(task)
        task.add_done_callback(partial(self._compared, other))

    def _compared(self, other: ModelHost, task: asyncio.Task[None]) -> None:
        self._comparing.discard(task)
        other.release()

    async def _compare(
        self,
        trial: Trial,
        other: ModelHost,
        rows: pa.RecordBatch,
        predictions: Predictions,
        is_trial: bool,
    ) -> None:
        began_s = time.perf_counter()
        try:
            also = await other.predict(rows)
        except OverloadedError:
            return
        except Exception:  # noqa: BLE001 - a fault in the shadow must not reach anybody
            if not is_trial:
                trial.of_trial.failed()
            return
        if not is_trial:
            trial.of_trial.answered(time.perf_counter() - began_s)
        trial.compare(predictions, also)

    # Watching

    def judge(self) -> Breach | None:
        """Take a version on trial back if it breaks the rules."""
        trial, rollout = self._trial, self._rollout
        if trial is None or rollout is None:
            return None
        if trial.trial == rollout.active and not self._is_on_probation(trial, rollout):
            return None
        reason = breach(trial.comparison(), rollout.rules)
        if reason is None:
            return None
        _log.error("taken back: %s", reason)
        return Breach(
            generation=rollout.generation,
            version=trial.trial,
            reason=reason,
            replica=self._replica,
        )

    def _is_on_probation(self, trial: Trial, rollout: Rollout) -> bool:
        """Whether a version that answers everything is still watched."""
        return rollout.on_probation and trial.age_s < rollout.rules.probation_s

    def report(self, requests: RequestMetrics) -> ReplicaReport | None:
        """What this replica does and has counted; None before it follows any rollout."""
        if self._rollout is None:
            return None
        batch_sizes: dict[str, Counter[int]] = {}
        for version, host in self._hosts.items():
            # One version may be loaded twice, to be run in two ways.
            batch_sizes.setdefault(str(version.version), Counter()).update(host.batch_sizes)
        metrics = requests.snapshot(
            batch_sizes,
            queue_rows=sum(host.waiting_rows for host in self._hosts.values()),
        )
        known = (
            *((version, "ready", None) for version in self._hosts),
            *((version, "loading", None) for version in self._loading),
            *((version, "failed", why) for version, why in self._failures.items()),
        )
        return ReplicaReport(
            replica=self._replica,
            generation=self._rollout.generation,
            active=self._active,
            versions=tuple(
                VersionReport(version=version, condition=condition, reason=why)
                for version, condition, why in known
            ),
            comparison=self._trial.comparison() if self._trial else None,
            metrics=metrics,
            at_s=time.time(),
        )

    def check(self) -> None:
        """Raise if this replica should be replaced.

        Raises:
            RuntimeError: A forward pass does not come back.
        """
        for host in self._hosts.values():
            host.check()


def _reason(error: BaseException) -> str:
    """Why a version does not answer, in one line."""
    if isinstance(error, RaymiError):
        return f"{error.what}: {error.why}"
    return f"{type(error).__name__}: {error}"
