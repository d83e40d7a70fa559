"""Follows as plain JSON documents."""

from __future__ import annotations

from typing import Any

from softlaunch.controller import follow_state, follow_work, following
from softlaunch.core import gitops, release


def follows(source: following.Following) -> list[dict[str, Any]]:
    """Each follow, with where each of its environments stands."""
    return [
        {
            "service": work.follow.service,
            "url": work.follow.url,
            "folder": work.follow.folder,
            "every_seconds": work.follow.every_seconds,
            "on_rollback": work.follow.on_rollback.value,
            "require_signed_commits": work.follow.require_signed_commits,
            "asking": work.looking is not None or work.due_at == 0.0,
            "polled_at": work.state.polled_at,
            "unreachable_since": work.state.unreachable_since,
            "trouble": work.state.trouble,
            "lock": _lock(work),
            "environments": [_environment(work, *each) for each in found],
        }
        for work, found in source.everything()
    ]


def _lock(work: follow_work.Work) -> dict[str, Any] | None:
    if not work.follow.update_lock:
        return None
    found = work.state.lock
    return {
        "branch": work.follow.update_lock,
        "every_seconds": work.follow.lock_every_seconds,
        "looked_at": found.looked_at or None,
        "commit": found.commit or None,
        "text": found.text,
        "trouble": found.trouble,
    }


def _environment(
    work: follow_work.Work, target: follow_state.Target, facts: gitops.Facts, decision: gitops.Decision
) -> dict[str, Any]:
    running, pin = facts.running, decision.pin
    revert = work.state.reverts.get(follow_state.revert_key(target.branch, pin.arm or pin.release)) if pin else None
    return {
        "environment": target.environment,
        "branch": target.branch,
        "desired": {"commit": target.commit, "release": decision.desired or None},
        "running": (
            {
                "commit": running.commit,
                "release": running.release,
                "arm": release.short(running.arm),
                "by": running.by,
            }
            if running
            else None
        ),
        "standing": decision.standing.value,
        "drift": decision.drifted,
        "reason": decision.reason,
        "revert": (
            {"state": revert.state, "branch": revert.branch, "commit": revert.commit, "text": revert.text}
            if revert is not None
            else None
        ),
    }
