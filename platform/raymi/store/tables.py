"""The tables as they are after every migration."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Constraints have names, so that a later migration can change them."""

models = Table(
    "models",
    METADATA,
    Column("name", String(63), primary_key=True),
    # Counts up for ever, and its row is the lock that writers of one model share.
    Column("last_version", Integer, nullable=False),
)

model_versions = Table(
    "model_versions",
    METADATA,
    Column("name", String(63), ForeignKey(models.c.name), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String(255), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("summary", JSON, nullable=False),
    UniqueConstraint("name", "run_id"),
)

model_aliases = Table(
    "model_aliases",
    METADATA,
    Column("name", String(63), primary_key=True),
    Column("alias", String(32), primary_key=True),
    Column("version", Integer, nullable=False),
    ForeignKeyConstraint(["name", "version"], ["model_versions.name", "model_versions.version"]),
)

model_events = Table(
    "model_events",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(63), ForeignKey(models.c.name), nullable=False, index=True),
    Column("action", String(32), nullable=False),
    Column("version", Integer, nullable=False),
    Column("replaced", Integer, nullable=True),
    Column("by", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
)
