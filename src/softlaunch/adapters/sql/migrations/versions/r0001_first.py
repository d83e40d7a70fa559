"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _places()
    _log()
    for table in ("events", "keys"):
        for deed in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{deed.lower()} BEFORE {deed} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


def _places() -> None:
    op.create_table(
        "lives",
        sa.Column("service", sa.Text(), primary_key=True),
        sa.Column("environment", sa.Text(), primary_key=True),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("stable", sa.Text()),
        sa.Column("previous", sa.Text()),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("history", sa.Text(), nullable=False),
    )
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("stable", sa.Text()),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("commit_id", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("salt", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("measured", sa.Text(), nullable=False),
    )
    op.create_index(
        "rollouts_unfinished",
        "rollouts",
        ["service", "environment"],
        unique=True,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index("rollouts_by_place", "rollouts", ["service", "environment", "id"])
    op.create_table(
        "listeners",
        sa.Column("environment", sa.Text(), primary_key=True),
        sa.Column("port", sa.Integer(), nullable=False),
    )


def _log() -> None:
    op.create_table(
        "cursor",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("rollout_id", sa.Integer(), sa.ForeignKey("rollouts.id")),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("events_by_place", "events", ["service", "environment", "id"])
    op.create_index("events_by_rollout", "events", ["rollout_id", "id"])
    op.create_table(
        "keys",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("rollout_id", sa.Integer(), sa.ForeignKey("rollouts.id"), nullable=False),
        sa.Column("guardrail", sa.Text(), nullable=False),
        sa.Column("key", sa.BigInteger(), nullable=False),
    )
    op.create_index("keys_by_rollout", "keys", ["rollout_id"])


def downgrade() -> None:
    raise NotImplementedError("State is never taken back: open a copy with the older softlaunch instead.")
