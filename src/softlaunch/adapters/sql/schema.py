"""
The tables of the state store.

What people and queries look for has a column of its own; values that only softlaunch reads whole (specs, states,
evidence) are JSON text, so that any SQLite shell shows them. Releases that run or ran (stable, previous, candidate, the
successor's, a pin's) are arms: `sha256:HEX`, or `sha256:HEX_NUMBER` with other settings (core.release). The migrations
build these tables; a test compares the two. Shapes are plain SQL, so that PostgreSQL can hold them too.
"""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

REVISIONS = ("r0001", "r0002", "r0003", "r0004")
"""Every migration, oldest first; a database with another version was written by a newer softlaunch."""
UNCHAINED = (None, "r0001", "r0002")
"""Revisions whose history has no hashes; None: there is no file yet."""

LIVES = sa.Table(
    "lives",
    METADATA,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("stable", sa.Text),
    sa.Column("previous", sa.Text),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("history", sa.Text, nullable=False),
    sa.Column("warm_until", sa.Double, nullable=False, server_default="0"),
    sa.Column("previous_spec", sa.Text),
)

ROLLOUTS = sa.Table(
    "rollouts",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("candidate", sa.Text, nullable=False),
    sa.Column("stable", sa.Text),
    sa.Column("phase", sa.Text, nullable=False, comment="a copy out of `state`, for people"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("salt", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("measured", sa.Text, nullable=False),
    sa.Column("successor", sa.Text),
    sa.Column("settings_changed", sa.Text, nullable=False, server_default="{}"),
)
_UNFINISHED = ROLLOUTS.c.finished_at.is_(None)
# Loading the world reads this index only, however many rollouts are finished; unique: one rollout at a time in a place.
sa.Index(
    "rollouts_unfinished",
    ROLLOUTS.c.service,
    ROLLOUTS.c.environment,
    unique=True,
    sqlite_where=_UNFINISHED,
    postgresql_where=_UNFINISHED,
)
sa.Index("rollouts_by_place", ROLLOUTS.c.service, ROLLOUTS.c.environment, ROLLOUTS.c.id)

LISTENERS = sa.Table(
    "listeners",
    METADATA,
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("port", sa.Integer, nullable=False),
)

CURSOR = sa.Table(
    "cursor",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False, comment="always 1: there is one attempt log"),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
)

EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("rollout_id", sa.Integer, sa.ForeignKey(ROLLOUTS.c.id)),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("facts", sa.Text, nullable=False, server_default="{}"),
    sa.Column("hash", sa.Text, nullable=False, server_default="", comment="see core.history_chain"),
    sqlite_autoincrement=True,
)
sa.Index("events_by_place", EVENTS.c.service, EVENTS.c.environment, EVENTS.c.id)
sa.Index("events_by_rollout", EVENTS.c.rollout_id, EVENTS.c.id)

KEYS = sa.Table(
    "keys",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout_id", sa.Integer, sa.ForeignKey(ROLLOUTS.c.id), nullable=False),
    sa.Column("guardrail", sa.Text, nullable=False),
    sa.Column("key", sa.BigInteger, nullable=False, comment="unsigned 64-bit hash, stored as signed"),
)
# No unique index over the hashes: random inserts would rewrite a page for every key, and the judge never repeats one.
sa.Index("keys_by_rollout", KEYS.c.rollout_id)

PINS = sa.Table(
    "pins",
    METADATA,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("release", sa.Text, primary_key=True),
    sa.Column("at", sa.Double, primary_key=True),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("lifted_at", sa.Double),
    sa.Column("lifted_by", sa.Text, nullable=False),
    sa.Column("lifted_reason", sa.Text, nullable=False),
)

COMPLAINTS = sa.Table(
    "complaints",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("prediction", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("external_id", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
# Rows may be deleted by hand: a complaint is a person's text about a person.
COMPLAINT_IS_A_TICKET = sa.text("external_id != ''")
sa.Index(
    "complaints_by_ticket",
    COMPLAINTS.c.external_id,
    unique=True,
    sqlite_where=COMPLAINT_IS_A_TICKET,
    postgresql_where=COMPLAINT_IS_A_TICKET,
)
sa.Index("complaints_by_time", COMPLAINTS.c.at)

BOOKMARKS = sa.Table(
    "bookmarks",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
