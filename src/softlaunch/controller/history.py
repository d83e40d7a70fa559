"""The history: what its records carry beside their text, and what was live at a moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from softlaunch import errors
from softlaunch.core import release, spec, timeline
from softlaunch.core.rollout import machine, messages, phases
from softlaunch.ports import store

PAGE = 2_000
"""Records read at once."""


def serves(record: store.RolloutRecord) -> dict[str, float]:
    """Percent of the users' requests by arm (its `text`), as a rollout's state says; cohorts have their own shares."""
    wanted = phases.desired(record.state)
    candidate = spec.WEIGHT_FULL if wanted.candidate_is_stable else wanted.candidate_weight
    found = {record.candidate.text: candidate / 100}
    if record.stable is not None and wanted.old_stable_runs and record.stable != record.candidate:
        found[record.stable.text] = (spec.WEIGHT_FULL - candidate) / 100
    return {name: share for name, share in found.items() if share}


def told(step: machine.Step, before: store.RolloutRecord) -> tuple[messages.Announcement, ...]:
    """What is told of a step: at least that who answers has changed."""
    after = dataclasses.replace(before, state=step.state)
    if step.announcements or serves(after) == serves(before):
        return step.announcements
    return (messages.Announcement(kind=messages.AnnouncementKind.TRAFFIC, text=step.state.reason),)


def facts(record: store.RolloutRecord, *, stable: release.Digest | None, by: str = "") -> dict[str, Any]:
    """
    What a record about a rollout carries for programs.

    Args:
        record: The rollout, as it is from now on.
        stable: The place's stable release from now on.
        by: Who asked for what happened; empty: nobody did.
    """
    cohorts = {name: weight / 100 for name, weight in phases.desired(record.state).cohort_weights}
    found: dict[str, Any] = {
        "release": record.candidate.text,
        "stable": stable.text if stable is not None else None,
        "serves": serves(record),
        "phase": record.state.phase.value,
        "requested_by": record.requested_by,
        "ref": record.ref,
        "commit": record.commit,
    }
    settings = {how: list(names) for how, names in record.settings_changed.items()}
    more = {"cohorts": cohorts, "by": by, "settings": settings}
    return {**found, **{name: each for name, each in more.items() if each}}


def at(
    kept: store.Store, moment: float, *, now: float, service: str | None = None, environment: str | None = None
) -> list[timeline.Moment]:
    """
    Every place at a moment.

    Args:
        kept: Where the history is.
        moment: Unix seconds.
        now: The same.
        service: Only this one.
        environment: Only this one.

    Raises:
        ConfigError: the moment lies in the future.
    """
    if moment > now:
        raise errors.ConfigError(
            f"{moment - now:.0f} s from now nothing has happened yet.",
            remedy="Name a moment that has passed.",
            code=errors.Code.BAD_REQUEST,
        )
    return timeline.moments(_records(kept, service, environment), moment)


def _records(kept: store.Store, service: str | None, environment: str | None) -> Iterator[timeline.Record]:
    after = 0
    while True:
        page = kept.events(service=service, environment=environment, after_id=after, limit=PAGE)
        for event in page:
            yield timeline.Record(
                at=event.at,
                service=event.service,
                environment=event.environment,
                rollout_id=event.rollout_id,
                kind=event.kind,
                text=event.text,
                facts=event.facts,
            )
        if len(page) < PAGE:
            return
        after = page[-1].id
