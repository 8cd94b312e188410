"""Which versions an application should have loaded, and which of them answers."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from raymi.specs.backend import BackendName, ServingPrecision
from raymi.specs.deploy import BatchingSpec, BreachRules
from raymi.store.record import Record


class VersionRef(Record):
    """One registered version and how it is run, as much of it as a replica needs to load it.

    Another backend, precision or batch is rolled out, tried and rolled back as another version is.
    """

    name: str
    """The model."""

    version: int
    """Its version."""

    fingerprint: str
    """sha256 (hex) of the bundle's manifest."""

    path: str
    """The bundle's directory."""

    precision: str
    """The arithmetic it was trained with."""

    batching: BatchingSpec
    """How its requests share forward passes; the batch size is settled."""

    backend: BackendName = BackendName.EAGER
    """Who executes the network."""

    serving_precision: ServingPrecision | None = None
    """Arithmetic of the forward pass; None: what it was evaluated in."""

    @property
    def max_batch_size(self) -> int:
        """Rows in one forward pass."""
        return self.batching.max_batch_size or 1

    @property
    def reference(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.name}@{self.version}"

    @property
    def described(self) -> str:
        """The reference, and how it is run unless that is as it was evaluated."""
        if self.backend is BackendName.EAGER and self.serving_precision is None:
            return self.reference
        precision = self.serving_precision or self.precision
        return f"{self.reference} in {self.backend} {precision}"


class Rollout(Record):
    """What every replica of an application should do."""

    generation: int
    """Counts changes; what replicas report is about one of them."""

    active: VersionRef
    """Answers."""

    previous: VersionRef | None = None
    """Answered before, and is kept loaded: the way back."""

    candidate: VersionRef | None = None
    """Loaded beside the active one, to be tried or to become active."""

    canary_percent: float = Field(default=0.0, ge=0.0, le=100.0)
    """Of requests that the candidate answers."""

    shadow_percent: float = Field(default=0.0, ge=0.0, le=100.0)
    """Of requests that the candidate computes too, for comparison only."""

    on_probation: bool = False
    """Whether the active version may be taken back by itself: it is new, and the one before it has
    not been taken back to."""

    rules: BreachRules = BreachRules()
    """When a version that is tried is taken back."""

    reason: str
    """Why it was changed last."""

    @model_validator(mode="after")
    def _tries_a_candidate(self) -> Self:
        if self.candidate is None and (self.canary_percent or self.shadow_percent):
            raise ValueError("there is traffic for a candidate, but no candidate")
        return self

    @property
    def versions(self) -> tuple[VersionRef, ...]:
        """All that should be loaded, the one that answers first."""
        every = (self.active, self.candidate, self.previous)
        return tuple(version for version in every if version is not None)


class Breach(Record):
    """A version was taken back by a replica."""

    generation: int
    """Of the rollout that it ended."""

    version: VersionRef
    """The version."""

    reason: str
    """Which limit was passed, with the numbers."""

    replica: str
    """Who saw it first."""


def first(active: VersionRef, rules: BreachRules) -> Rollout:
    """An application's first rollout."""
    return Rollout(generation=1, active=active, rules=rules, reason="first deployment")


def prepared(now: Rollout, candidate: VersionRef, rules: BreachRules) -> Rollout:
    """Load a version beside the active one, without traffic."""
    return _next(
        now,
        candidate=candidate,
        canary_percent=0.0,
        shadow_percent=0.0,
        rules=rules,
        reason=f"{candidate.described} is being loaded",
    )


def tried(now: Rollout, *, canary_percent: float, shadow_percent: float) -> Rollout:
    """Give the candidate traffic."""
    return _next(
        now,
        canary_percent=canary_percent,
        shadow_percent=shadow_percent,
        reason=f"{canary_percent:g} % canary, {shadow_percent:g} % shadow",
    )


def completed(now: Rollout) -> Rollout:
    """Let the candidate answer everything."""
    if now.candidate is None:
        raise ValueError("there is no candidate")
    return _next(
        now,
        active=now.candidate,
        previous=now.active,
        on_probation=True,
        **_NO_CANDIDATE,
        reason=f"{now.candidate.described} was deployed",
    )


def deployed_again(now: Rollout, rules: BreachRules) -> Rollout:
    """What answers was deployed once more: nothing is tried beside it, and other rules hold."""
    if now.candidate is None:
        return now if now.rules == rules else _next(now, rules=rules)
    reason = f"{now.active.described} was deployed again"
    return _next(now, **_NO_CANDIDATE, rules=rules, reason=reason)


def abandoned(now: Rollout, reason: str) -> Rollout:
    """Take the candidate away."""
    return _next(now, **_NO_CANDIDATE, reason=reason)


def rolled_back(now: Rollout, reason: str) -> Rollout:
    """Let the previous version answer again; the one that did stays loaded in its place."""
    if now.previous is None:
        raise ValueError("there is no previous version")
    return _next(
        now,
        active=now.previous,
        previous=now.active,
        on_probation=False,
        **_NO_CANDIDATE,
        reason=reason,
    )


def in_force(rollout: Rollout, breach: Breach | None) -> Rollout:
    """The rollout as it is once a replica has taken a version back."""
    if breach is None or breach.generation != rollout.generation:
        return rollout
    if rollout.candidate == breach.version:
        return abandoned(rollout, breach.reason)
    if rollout.active == breach.version and rollout.previous is not None:
        # What was taken back is no way back: `raymi rollback` must not lead to it.
        back = rolled_back(rollout, breach.reason)
        return Rollout.model_validate({**dict(back), "previous": None})
    return rollout


_NO_CANDIDATE: dict[str, float | None] = {
    "candidate": None,
    "canary_percent": 0.0,
    "shadow_percent": 0.0,
}


def _next(now: Rollout, **changes: object) -> Rollout:
    document = {**dict(now), **changes, "generation": now.generation + 1}
    return Rollout.model_validate(document)
