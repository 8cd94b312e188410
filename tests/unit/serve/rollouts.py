"""Versions and rollouts for tests, and replicas that do what a rollout says."""

from __future__ import annotations

import time

from raymi.serve.rollout.report import ReplicaReport, VersionReport
from raymi.serve.rollout.state import VersionRef, first
from raymi.specs.deploy import BatchingSpec, BreachRules

RULES = BreachRules()


def version(number):
    """A version that differs from all others."""
    return VersionRef(
        name="digits",
        version=number,
        fingerprint=f"{number:064x}",
        path=f"/models/digits/{number}",
        precision="fp32",
        batching=BatchingSpec(max_batch_size=16),
    )


def serving(number, rules=RULES):
    """The first rollout of an application."""
    return first(version(number), rules)


class Replica:
    """Follows a rollout at once, unless a version is broken for it."""

    def __init__(self, name, files, *, broken=()):
        self.name = name
        self._files = files
        self._broken = set(broken)

    def look(self):
        """Read the rollout, and say what came of it."""
        rollout = self._files.read()
        if rollout is None:
            return
        reports = [
            VersionReport(version=v, condition="failed", reason="its sha256 is another")
            if v.version in self._broken
            else VersionReport(version=v, condition="ready")
            for v in rollout.versions
        ]
        report = ReplicaReport(
            replica=self.name,
            generation=rollout.generation,
            active=rollout.active,
            versions=tuple(reports),
            at_s=time.time(),
        )
        self._files.report(report)
