"""Alembic revisions, oldest first; each changes the schema once and is never edited again."""
