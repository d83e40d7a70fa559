"""Run by Alembic: every missing migration inside the transaction the caller has open, so that all of them or none."""

from __future__ import annotations

from alembic import context

from softlaunch.adapters.sql import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.METADATA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
