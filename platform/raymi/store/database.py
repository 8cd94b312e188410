"""The SQL database: how it is opened, written to and brought up to date.

SQLite (the default) runs in write-ahead mode, so that readers never wait for a writer, and
takes its write lock when a write begins, so that two writers queue up instead of failing.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.pool import NullPool

from raymi.errors import ConflictError, SpecError, UnreachableError

HEAD = "0001"
"""The newest migration. A database at this revision is used without loading Alembic."""

_BUSY_TIMEOUT_MS = 30_000
_MIGRATION_LOCK = 0x5241594D49
"""Key of PostgreSQL's advisory lock: `RAYMI` in ASCII."""


def open_database(url: str) -> Engine:
    """Make an engine and bring the schema up to date; safe for many processes at once.

    Raises:
        SpecError: The URL is no SQLAlchemy URL, or its driver is not installed.
        UnreachableError: The database does not answer or cannot be written.
        ConflictError: A newer Raymi has written it.
    """
    engine = build_engine(url)
    try:
        migrate(engine)
    except (DBAPIError, OSError) as error:
        raise _unusable(engine, error) from error
    return engine


def build_engine(url: str) -> Engine:
    """Make an engine with Raymi's settings; connects to nothing yet.

    Raises:
        SpecError: The URL is no SQLAlchemy URL, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True)
        if parsed.database in (None, "", ":memory:"):
            engine = create_engine(parsed)
        else:
            # A connection costs 0.3 ms; none stays open behind a fork or a finished test.
            engine = create_engine(parsed, poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        # The message may repeat the URL, and with it a password.
        raise SpecError(
            "RAYMI_DATABASE_URL: cannot be used",
            why=f"{type(error).__name__}: not a database URL with an installed driver",
            fix="use sqlite:////absolute/path.db or postgresql+pg8000://user@host/name",
        ) from None
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one consistent state.

    Raises:
        UnreachableError: The database does not answer.
    """
    try:
        with engine.connect() as connection:
            yield connection
    except (OperationalError, InterfaceError) as error:
        raise _unusable(engine, error) from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds the write lock from its start; commits if the block ends well.

    Raises:
        UnreachableError: The database does not answer, is read-only or locked for too long.
    """
    try:
        with engine.execution_options(raymi_writes=True).begin() as connection:
            yield connection
    except (OperationalError, InterfaceError) as error:
        raise _unusable(engine, error) from error


def migrate(engine: Engine) -> None:
    """Create or upgrade the tables.

    Raises:
        ConflictError: A newer Raymi has written this database.
    """
    with _one_at_a_time(engine), writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        found = _revision(connection)
        if found == HEAD:
            return
        _upgrade(connection, found)


def _upgrade(connection: Connection, found: str | None) -> None:
    # Alembic takes longer to import than everything else here together.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    here = Path(__file__).parent
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", _escaped(here))
    config.set_main_option("version_locations", _escaped(here / "migrations"))
    config.set_main_option("path_separator", "newline")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise ConflictError(
            f"database {_shown(connection.engine.url)}: written by a newer Raymi",
            why=f"its schema is at revision {found}, this version knows up to {HEAD}",
            fix="upgrade raymi here, or use another database (RAYMI_DATABASE_URL)",
        )
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


@contextmanager
def _one_at_a_time(engine: Engine) -> Iterator[None]:
    """Let one process at a time create a SQLite database: switching to WAL cannot wait."""
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database or database == ":memory:":
        yield
        return
    path = Path(database)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver must not begin transactions on its own: `_begin_sqlite` says which kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("raymi_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _unusable(engine: Engine, error: Exception) -> UnreachableError:
    reason = error.orig if isinstance(error, DBAPIError) else error
    return UnreachableError(
        f"database {_shown(engine.url)}: cannot be used",
        why=" ".join(str(reason).split()),
        fix="check RAYMI_DATABASE_URL or RAYMI_HOME, its permissions, and the server",
    )


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)
