"""
How a rollout begins, and how it is remembered that a release must not be launched again.

Pure changes of the ledger: whoever calls them holds the loop's lock and flushes.
"""

from __future__ import annotations

import hashlib

from softlaunch.controller import arms
from softlaunch.controller import ledger as ledgers
from softlaunch.core import release
from softlaunch.core.rollout import machine, phases
from softlaunch.ports import store


def begin(
    book: ledgers.Ledger,
    asked: store.Successor,
    *,
    place: ledgers.Place,
    now: float,
    immediate: bool = False,
    drill: bool = False,
    note: str = "",
) -> store.RolloutRecord:
    """
    Puts a new rollout into the ledger; the place must be free, and live (with or without a stable release).

    Args:
        book: The ledger.
        asked: What enters.
        place: Where.
        now: Unix seconds.
        immediate: An operator's rollback.
        drill: The release carries an injected fault.
        note: A sentence for the history, beside who asked for what.
    """
    live = book.lives[place]
    plan = phases.plan_of(asked.spec, compared=live.stable is not None, immediate=immediate, drill=drill)
    verb = "Rollback to" if immediate else "Drill with" if drill else "Launch of"
    settings = arms.changed(live.spec, asked.spec) if live.stable is not None else {}
    note = " ".join(filter(None, (arms.told(settings), note)))
    reason = f"{verb} {asked.release.short} ({asked.ref}) by {asked.requested_by}."
    step = machine.begin(plan, now=now, reason=f"{reason} {note}".strip())
    record = store.RolloutRecord(
        id=asked.id,
        service=place[0],
        environment=place[1],
        candidate=asked.release,
        stable=live.stable,
        spec=asked.spec,
        state=step.state,
        ref=asked.ref,
        commit=asked.commit,
        requested_by=asked.requested_by,
        salt=hashlib.sha256(f"{place[0]}/{place[1]}/{asked.id}".encode()).hexdigest()[:8],
        created_at=now,
        settings_changed=settings,
    )
    book.put_rollout(record)
    book.announce(record, step.announcements, at=now)
    return record


def begin_successor(book: ledgers.Ledger, asked: store.Successor, *, place: ledgers.Place, now: float) -> None:
    """Begins what was asked for while another rollout ran, unless that one has brought it already."""
    if book.lives[place].stable == asked.release:
        book.note(
            place,
            at=now,
            rollout_id=None,
            kind="superseded",
            text=f"{asked.release.short} is live already: what {asked.requested_by} asked for needs no launch.",
        )
        return
    begin(book, asked, place=place, now=now)


def pin(book: ledgers.Ledger, record: store.RolloutRecord, *, by: str, reason: str, now: float) -> store.Pin:
    """
    Remembers that what the rollout brought went wrong here: its release; the release with these settings alone where
    the settings were all that was new.
    """
    return pin_release(
        book,
        (record.service, record.environment),
        to_pin(record.candidate, instead_of=record.stable),
        commit=record.commit,
        by=by,
        reason=reason,
        now=now,
    )


def to_pin(left: release.Digest, *, instead_of: release.Digest | None) -> release.Digest:
    """What is to blame when `left` is left for another arm: its settings when both are the same release."""
    same = instead_of is not None and left.release == instead_of.release
    return release.exactly(left) if same else left.release


def pin_release(
    book: ledgers.Ledger,
    place: ledgers.Place,
    digest: release.Digest,
    *,
    commit: str,
    by: str,
    reason: str,
    now: float,
) -> store.Pin:
    found = store.Pin(
        service=place[0], environment=place[1], release=digest, commit=commit, reason=reason, by=by, at=now
    )
    book.put_pin(found)
    named = f"{digest.short} ({commit[:12]})" if commit else digest.short
    if isinstance(digest, release.Arm):
        named = f"{digest.release.short} with the settings of {commit[:12] or digest.short}"
    book.note(
        place,
        at=now,
        rollout_id=None,
        kind="pinned",
        text=f"{named} is not launched again: {reason} "
        f"`softlaunch unpin {digest.short} --service {place[0]} --env {place[1]} --reason TEXT` lifts that.",
    )
    return found
