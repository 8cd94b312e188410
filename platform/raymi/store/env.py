"""Alembic's entry point: run the migrations on the connection that `database.migrate` holds."""

from __future__ import annotations

from alembic import context

from raymi.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite does roll schema changes back; a migration that fails leaves nothing behind.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
