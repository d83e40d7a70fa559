"""History records carry facts, and the hash of themselves and of the record before them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from softlaunch.core import history_chain

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None

_TRIGGER = (
    "CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END"
)


def upgrade() -> None:
    op.add_column("events", sa.Column("facts", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("events", sa.Column("hash", sa.Text(), nullable=False, server_default=""))
    op.execute("DROP TRIGGER events_no_update")
    _fill(op.get_bind())
    op.execute(_TRIGGER)


def _fill(connection: sa.Connection) -> None:
    """Hashes of what is there: from now on it cannot change unseen."""
    previous = history_chain.GENESIS
    names = "id, at, service, environment, rollout_id, kind, text, facts, hash"
    for row in connection.execute(sa.text(f"SELECT {names} FROM events ORDER BY id")).mappings().all():  # noqa: S608 - our own names
        previous = history_chain.link(previous, history_chain.Record(**row))
        connection.execute(
            sa.text("UPDATE events SET hash = :hash WHERE id = :id"), {"hash": previous, "id": row["id"]}
        )


def downgrade() -> None:
    raise NotImplementedError("State is never taken back: open a copy with the older softlaunch instead.")
