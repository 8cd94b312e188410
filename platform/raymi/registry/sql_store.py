"""The registry in a SQL database, with bundles on a file system every node can reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.dialects import postgresql, sqlite

from raymi.errors import ConflictError
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
from raymi.store.database import open_database, reading, writing
from raymi.store.tables import model_aliases, model_events, model_versions, models


class SqlModelStore:
    """A ModelStore; any number of processes may use the same database at once."""

    def __init__(self, database_url: str, bundles_dir: Path) -> None:
        """Open the database, creating its tables if need be.

        Raises:
            SpecError, UnreachableError, ConflictError: As `raymi.store.database.open_database`.
        """
        self._engine = open_database(database_url)
        self._bundles_dir = bundles_dir

    def register(
        self, name: str, summary: ModelSummary, write: Callable[[Path], None], *, by: str
    ) -> ModelVersion:
        """See ModelStore."""
        with reading(self._engine) as connection:
            if known := self._of_run(connection, name, summary.run_id):
                return known
        with incoming(self._bundles_dir, name) as directory:
            # The slow part, many bytes, comes before the transaction that others wait for.
            write(directory)
            fingerprint = seal(directory)
            with writing(self._engine) as connection:
                last_version = _lock(connection, name, create=True)
                if known := self._of_run(connection, name, summary.run_id):
                    return known
                version = first_free_version(self._bundles_dir, name, after=last_version)
                registered = ModelVersion(
                    **dict(summary),
                    name=name,
                    version=version,
                    fingerprint=fingerprint,
                    created_at=datetime.now(UTC),
                    path=str(bundle_path(self._bundles_dir, name, version)),
                )
                _insert_version(connection, registered)
                before = _aliases(connection, name)
                _record(
                    connection,
                    _event(registered, Action.REGISTER, before.get(Alias.CANDIDATE), by, ""),
                )
                _move_aliases(connection, name, before, after_registration(before, version))
                # Last, so that only a failing commit can leave a directory without a row.
                publish(directory, Path(registered.path))
        return registered

    def get(self, name: str, version: int) -> ModelVersion:
        """See ModelStore."""
        with reading(self._engine) as connection:
            return self._get(connection, name, version)

    def resolve(self, reference: str) -> ModelVersion:
        """See ModelStore."""
        name, wanted = parse_reference(reference)
        with reading(self._engine) as connection:
            if isinstance(wanted, int):
                return self._get(connection, name, wanted)
            aliases = _aliases(connection, name)
            if wanted not in aliases:
                _require_model(connection, name)
                raise no_alias(name, wanted)
            return self._get(connection, name, aliases[wanted])

    def list(self, name: str | None = None) -> tuple[ModelVersion, ...]:
        """See ModelStore."""
        query = select(model_versions).order_by(model_versions.c.name, model_versions.c.version)
        with reading(self._engine) as connection:
            if name is not None:
                _require_model(connection, name)
                query = query.where(model_versions.c.name == name)
            return tuple(self._version(row) for row in connection.execute(query))

    def aliases(self, name: str) -> dict[str, int]:
        """See ModelStore."""
        with reading(self._engine) as connection:
            return _aliases(connection, name)

    def history(self, name: str) -> tuple[ModelEvent, ...]:
        """See ModelStore."""
        query = select(model_events).where(model_events.c.name == name).order_by(model_events.c.id)
        with reading(self._engine) as connection:
            _require_model(connection, name)
            rows = connection.execute(query).mappings()
            return tuple(
                ModelEvent(**{k: v for k, v in row.items() if k not in ("id", "at")},
                           at=_utc(row["at"]))
                for row in rows
            )  # fmt: skip

    def promote(self, name: str, version: int, *, by: str, reason: str) -> ModelVersion:
        """See ModelStore."""
        chosen = self.get(name, version)
        check_bundle(chosen)
        with writing(self._engine) as connection:
            _lock(connection, name)
            before = _aliases(connection, name)
            after = after_promotion(before, version)
            if after != before:
                replaced = before.get(Alias.CHAMPION)
                _record(connection, _event(chosen, Action.PROMOTE, replaced, by, reason))
                _move_aliases(connection, name, before, after)
        return chosen

    def rollback(self, name: str, *, by: str, reason: str) -> ModelVersion:
        """See ModelStore."""
        with reading(self._engine) as connection:
            _require_model(connection, name)
            expected = after_rollback(_aliases(connection, name), name=name)
            chosen = self._get(connection, name, expected[Alias.CHAMPION])
        check_bundle(chosen)
        with writing(self._engine) as connection:
            _lock(connection, name)
            before = _aliases(connection, name)
            after = after_rollback(before, name=name)
            if after[Alias.CHAMPION] != chosen.version:
                raise ConflictError(
                    f"rollback {name}: the aliases have changed in this moment",
                    why=f"previous is {name}@{after[Alias.CHAMPION]} now",
                    fix=f"look at `raymi models {name}` and try again",
                )
            replaced = before.get(Alias.CHAMPION)
            _record(connection, _event(chosen, Action.ROLLBACK, replaced, by, reason))
            _move_aliases(connection, name, before, after)
        return chosen

    def _get(self, connection: Connection, name: str, version: int) -> ModelVersion:
        row = connection.execute(
            select(model_versions).filter_by(name=name, version=version)
        ).one_or_none()
        if row is None:
            raise no_version(name, version, _require_model(connection, name))
        return self._version(row)

    def _of_run(self, connection: Connection, name: str, run_id: str) -> ModelVersion | None:
        row = connection.execute(
            select(model_versions).filter_by(name=name, run_id=run_id)
        ).one_or_none()
        return None if row is None else self._version(row)

    def _version(self, row: Row[Any]) -> ModelVersion:
        return ModelVersion(
            **row.summary,
            run_id=row.run_id,
            name=row.name,
            version=row.version,
            fingerprint=row.fingerprint,
            created_at=_utc(row.created_at),
            # Not stored, so that a store can be moved.
            path=str(bundle_path(self._bundles_dir, row.name, row.version)),
        )


def _lock(connection: Connection, name: str, *, create: bool = False) -> int:
    """Keep other writers of this model out until the transaction ends; return its last version.

    On SQLite the transaction has the only write lock already.
    """
    if create:
        insert = _insert_on(connection)
        connection.execute(
            insert(models).values(name=name, last_version=0).on_conflict_do_nothing()
        )
    query = select(models.c.last_version).filter_by(name=name).with_for_update()
    last_version: int = connection.execute(query).scalar_one()
    return last_version


def _require_model(connection: Connection, name: str) -> tuple[int, ...]:
    query = select(model_versions.c.version).filter_by(name=name)
    versions = connection.execute(query.order_by(model_versions.c.version)).scalars().all()
    if not versions:
        raise no_model(name, connection.execute(select(models.c.name)).scalars().all())
    return tuple(versions)


def _insert_version(connection: Connection, version: ModelVersion) -> None:
    summary = version.model_dump(mode="json", include=set(ModelSummary.model_fields) - {"run_id"})
    connection.execute(
        model_versions.insert().values(
            name=version.name,
            version=version.version,
            run_id=version.run_id,
            fingerprint=version.fingerprint,
            created_at=version.created_at,
            summary=summary,
        )
    )
    connection.execute(
        update(models).filter_by(name=version.name).values(last_version=version.version)
    )


def _aliases(connection: Connection, name: str) -> dict[str, int]:
    query = select(model_aliases.c.alias, model_aliases.c.version).filter_by(name=name)
    return {row.alias: row.version for row in connection.execute(query)}


def _move_aliases(
    connection: Connection, name: str, before: Mapping[str, int], after: Mapping[str, int]
) -> None:
    insert = _insert_on(connection)
    for alias, version in after.items():
        if before.get(alias) != version:
            connection.execute(
                insert(model_aliases)
                .values(name=name, alias=str(alias), version=version)
                .on_conflict_do_update(index_elements=["name", "alias"], set_={"version": version})
            )


def _event(
    version: ModelVersion, action: Action, replaced: int | None, by: str, reason: str
) -> ModelEvent:
    return ModelEvent(
        name=version.name,
        action=action,
        version=version.version,
        replaced=replaced,
        by=by,
        reason=reason,
        at=datetime.now(UTC),
    )


def _record(connection: Connection, event: ModelEvent) -> None:
    connection.execute(
        model_events.insert().values(**{**dict(event), "action": event.action.value})
    )


def _insert_on(connection: Connection) -> Any:
    """The dialect's INSERT: `ON CONFLICT` is spelled the same on both, but lives in each."""
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def _utc(moment: datetime) -> datetime:
    """SQLite forgets the time zone; everything written is UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
