"""The registry in memory: for tests and notebooks; bundles are real, the index is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from raymi.registry.absence import no_alias, no_model, no_version
from raymi.registry.aliases import (
    after_promotion,
    after_registration,
    after_rollback,
    parse_reference,
)
from raymi.registry.publication import (
    bundle_path,
    check_bundle,
    first_free_version,
    incoming,
    publish,
)
from raymi.registry.version import Action, Alias, ModelEvent, ModelSummary, ModelVersion
from raymi.store.artifacts import seal


class InMemoryModelStore:
    """A ModelStore for the threads of one process."""

    def __init__(self, bundles_dir: Path) -> None:
        """Start empty; bundles are published below `bundles_dir`."""
        self._bundles_dir = bundles_dir
        self._lock = threading.RLock()
        self._versions: dict[tuple[str, int], ModelVersion] = {}
        self._aliases: dict[str, dict[str, int]] = {}
        self._events: list[ModelEvent] = []

    def register(
        self, name: str, summary: ModelSummary, write: Callable[[Path], None], *, by: str
    ) -> ModelVersion:
        """See ModelStore."""
        if known := self._of_run(name, summary.run_id):
            return known
        with incoming(self._bundles_dir, name) as directory:
            write(directory)
            fingerprint = seal(directory)
            with self._lock:
                if known := self._of_run(name, summary.run_id):
                    return known
                last = max((v for n, v in self._versions if n == name), default=0)
                version = first_free_version(self._bundles_dir, name, after=last)
                registered = ModelVersion(
                    **dict(summary),
                    name=name,
                    version=version,
                    fingerprint=fingerprint,
                    created_at=datetime.now(UTC),
                    path=str(bundle_path(self._bundles_dir, name, version)),
                )
                publish(directory, Path(registered.path))
                before = self.aliases(name)
                self._versions[name, version] = registered
                self._aliases[name] = after_registration(before, version)
                self._record(registered, Action.REGISTER, before.get(Alias.CANDIDATE), by, "")
        return registered

    def get(self, name: str, version: int) -> ModelVersion:
        """See ModelStore."""
        with self._lock:
            if (name, version) not in self._versions:
                raise no_version(name, version, [v.version for v in self.list(name)])
            return self._versions[name, version]

    def resolve(self, reference: str) -> ModelVersion:
        """See ModelStore."""
        name, wanted = parse_reference(reference)
        if isinstance(wanted, int):
            return self.get(name, wanted)
        with self._lock:
            aliases = self.aliases(name)
            if wanted not in aliases:
                self.list(name)
                raise no_alias(name, wanted)
            return self.get(name, aliases[wanted])

    def list(self, name: str | None = None) -> tuple[ModelVersion, ...]:
        """See ModelStore."""
        with self._lock:
            keys = sorted(key for key in self._versions if name in (None, key[0]))
            if name is not None and not keys:
                raise no_model(name, {other for other, _ in self._versions})
            return tuple(self._versions[key] for key in keys)

    def aliases(self, name: str) -> dict[str, int]:
        """See ModelStore."""
        with self._lock:
            return dict(self._aliases.get(name, {}))

    def history(self, name: str) -> tuple[ModelEvent, ...]:
        """See ModelStore."""
        with self._lock:
            self.list(name)
            return tuple(event for event in self._events if event.name == name)

    def promote(self, name: str, version: int, *, by: str, reason: str) -> ModelVersion:
        """See ModelStore."""
        with self._lock:
            chosen = self.get(name, version)
            check_bundle(chosen)
            before = self.aliases(name)
            after = after_promotion(before, version)
            if after != before:
                self._aliases[name] = after
                self._record(chosen, Action.PROMOTE, before.get(Alias.CHAMPION), by, reason)
            return chosen

    def rollback(self, name: str, *, by: str, reason: str) -> ModelVersion:
        """See ModelStore."""
        with self._lock:
            self.list(name)
            before = self.aliases(name)
            after = after_rollback(before, name=name)
            chosen = self.get(name, after[Alias.CHAMPION])
            check_bundle(chosen)
            self._aliases[name] = after
            self._record(chosen, Action.ROLLBACK, before.get(Alias.CHAMPION), by, reason)
            return chosen

    def _of_run(self, name: str, run_id: str) -> ModelVersion | None:
        with self._lock:
            known = (v for (n, _), v in self._versions.items() if n == name)
            return next((version for version in known if version.run_id == run_id), None)

    def _record(
        self, version: ModelVersion, action: Action, replaced: int | None, by: str, reason: str
    ) -> None:
        self._events.append(
            ModelEvent(
                name=version.name,
                action=action,
                version=version.version,
                replaced=replaced,
                by=by,
                reason=reason,
                at=datetime.now(UTC),
            )
        )
