"""How a rollback is written into the branch it came from, so that the branch says what runs."""

from __future__ import annotations

import dataclasses

from softlaunch import errors
from softlaunch.controller import follow_state
from softlaunch.core import gitops
from softlaunch.ports import repository

RETRY_SECONDS = 60.0
BRANCHES = "softlaunch/revert-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One release to be taken out of one branch."""

    branch: str
    tip: str
    pin: gitops.Pinned
    at: float
    """When it was pinned."""
    good: tuple[str, ...]
    """Commits of what runs instead."""
    mode: gitops.OnRollback

    @property
    def key(self) -> str:
        return follow_state.revert_key(self.branch, self.pin.arm or self.pin.release)


def wanted(found: follow_state.Revert | None, now: float) -> bool:
    """Whether the task is to be done now."""
    return found is None or (found.state == "pending" and now >= found.tried_at + RETRY_SECONDS)


def write(task: Task, reverts: repository.Reverts, *, now: float) -> follow_state.Revert:
    """
    Writes the commit and gives it to the server; what cannot be done is said in the result, nothing is raised for it.

    Args:
        task: What.
        reverts: Where.
        now: Unix seconds.
    """
    bad = task.pin.commit or task.tip
    try:
        commit = reverts.write(
            tip=task.tip, bad=bad, good=task.good, reason=f"{task.pin.reason} ({task.pin.by})", at=task.at
        )
    except errors.ConfigError as error:
        return follow_state.Revert(state="refused", text=f"No revert: {error.message} {error.remedy}", tried_at=now)
    except errors.UnavailableError as error:
        return follow_state.Revert(state="pending", text=f"No revert yet: {error.message}", tried_at=now)
    refused = ""
    if task.mode is gitops.OnRollback.REVERT:
        found, refused = _push(task, commit, reverts, branch=task.branch, into="", now=now)
        if found is not None:
            return found
    aside = f"{BRANCHES}{bad[:12]}"
    found, why = _push(task, commit, reverts, branch=aside, into=task.branch, now=now)
    if found is None:
        return follow_state.Revert(state="refused", commit=commit, text=why, tried_at=now)
    return dataclasses.replace(found, text=f"{refused} {found.text}".strip())


def _push(
    task: Task, commit: str, reverts: repository.Reverts, *, branch: str, into: str, now: float
) -> tuple[follow_state.Revert | None, str]:
    """What came of it; or None, and why the server does not take it there."""
    try:
        said = reverts.push(commit, branch=branch, into=into)
    except errors.ConflictError as error:
        return None, error.message
    except errors.UnavailableError as error:
        text = f"The revert {commit[:12]} waits for the git server: {error.message}"
        return follow_state.Revert(state="pending", branch=branch, commit=commit, text=text, tried_at=now), ""
    if into:
        text = f"The revert {commit[:12]} is on {branch}: merge it into {task.branch}. {said}".strip()
        return follow_state.Revert(state="offered", branch=branch, commit=commit, text=text, tried_at=now), ""
    text = f"The revert {commit[:12]} is on {branch}."
    return follow_state.Revert(state="pushed", branch=branch, commit=commit, text=text, tried_at=now), ""
