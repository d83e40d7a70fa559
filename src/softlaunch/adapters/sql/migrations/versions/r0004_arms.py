"""A rollout tells which settings changed; the settings of the previous release are kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0004"
down_revision = "r0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What is there keeps its plain digests: nothing gets another name, so nothing is started again.
    op.add_column("lives", sa.Column("previous_spec", sa.Text()))
    op.add_column("rollouts", sa.Column("settings_changed", sa.Text(), nullable=False, server_default="{}"))


def downgrade() -> None:
    raise NotImplementedError("State is never taken back: open a copy with the older softlaunch instead.")
