"""The database is made on first use, by one process at a time, and never by an older Raymi."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

import raymi.store
from raymi.errors import ConflictError, SpecError, UnreachableError
from raymi.store.database import HEAD, migrate, open_database, reading, writing
from raymi.store.tables import METADATA


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'new' / 'raymi.db'}"


def test_the_migrations_make_the_tables_that_the_code_expects(url):
    with reading(open_database(url)) as connection:
        difference = compare_metadata(MigrationContext.configure(connection), METADATA)

    assert difference == []


def test_the_newest_migration_is_the_one_that_is_opened_without_alembic():
    package = raymi.store.__path__[0]
    config = Config()
    config.set_main_option("script_location", package)
    config.set_main_option("version_locations", f"{package}/migrations")
    config.set_main_option("path_separator", "newline")

    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_sqlite_writes_ahead_and_minds_foreign_keys(url):
    engine = open_database(url)

    with reading(engine) as connection:
        found = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        ]

    assert found == ["wal", 1, 30_000, 1]
    orphan = text("INSERT INTO model_aliases (name, alias, version) VALUES ('a', 'champion', 1)")
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(orphan)


def test_opening_again_keeps_what_is_there(url):
    with writing(open_database(url)) as connection:
        connection.execute(text("INSERT INTO models (name, last_version) VALUES ('digits', 7)"))

    with reading(open_database(url)) as connection:
        assert connection.execute(text("SELECT last_version FROM models")).scalar() == 7


def test_many_may_open_a_database_that_does_not_exist_yet(url):
    with ThreadPoolExecutor(6) as pool:
        engines = list(pool.map(open_database, [url] * 6))

    with reading(engines[0]) as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).all() == [
            (HEAD,)
        ]


def test_a_writer_waits_for_the_writer_before_it(url):
    engine = open_database(url)
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO models (name, last_version) VALUES ('digits', 0)"))

    def count_up(_):
        with writing(engine) as connection:
            last = connection.execute(text("SELECT last_version FROM models")).scalar_one()
            connection.execute(text("UPDATE models SET last_version = :v"), {"v": last + 1})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count_up, range(40)))

    with reading(engine) as connection:
        assert connection.execute(text("SELECT last_version FROM models")).scalar() == 40


def test_a_newer_schema_is_refused_and_left_alone(url):
    engine = open_database(url)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(ConflictError, match="written by a newer Raymi") as caught:
        migrate(engine)

    assert len(str(caught.value).splitlines()) == 3
    with reading(engine) as connection:
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
        )


@pytest.mark.parametrize(
    "url", ["not a url", "nosuchdb://secret@host/x", "oracle+cx_oracle://secret@host/x"]
)
def test_a_url_that_is_none_is_refused_without_repeating_it(url):
    with pytest.raises(SpecError, match="RAYMI_DATABASE_URL") as caught:
        open_database(url)

    assert "secret" not in str(caught.value)


def test_a_write_to_a_database_that_may_only_be_read_is_refused(url):
    engine = open_database(url)

    with pytest.raises(UnreachableError, match="readonly") as caught, writing(engine) as connection:
        connection.execute(text("PRAGMA query_only = ON"))
        connection.execute(text("INSERT INTO models (name, last_version) VALUES ('digits', 0)"))

    assert caught.value.exit_code == 3


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "raymi.db").write_text("this is a letter, not a database" * 10)

    with pytest.raises(UnreachableError, match="cannot be used"):
        open_database(f"sqlite:///{tmp_path / 'raymi.db'}")
