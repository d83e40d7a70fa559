"""One service that follows a repository, and what is being done for it."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
from collections.abc import Callable, Collection

from softlaunch.controller import follow_look, follow_state
from softlaunch.core import gitops
from softlaunch.ports import locker, repository


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workspace:
    """One repository, opened."""

    copy: repository.Repository
    reverts: repository.Reverts
    close: Callable[[], None] = lambda: None


@dataclasses.dataclass(kw_only=True)
class Work:
    """One follow, and what is being done for it."""

    follow: follow_state.Follow
    space: Workspace
    state: follow_state.State
    due_at: float = 0.0
    seen: follow_look.Seen | None = None
    looking: concurrent.futures.Future[follow_look.Seen] | None = None
    checking_out: dict[str, concurrent.futures.Future[pathlib.Path]] = dataclasses.field(default_factory=dict)
    reverting: dict[str, concurrent.futures.Future[follow_state.Revert]] = dataclasses.field(default_factory=dict)
    locking: concurrent.futures.Future[locker.Updated] | None = None
    trees: dict[str, str] = dataclasses.field(default_factory=dict)
    saved: object = None

    def pipelines(self) -> dict[str, gitops.Attempt]:
        """Those that run, by environment."""
        return {name: found for name, found in self.state.attempts.items() if found.exit_code is None}


def busy(work: Work, target: follow_state.Target, arrived: Collection[str]) -> str:
    """
    Why a pipeline to the target has to wait; empty: it has not.

    A pipeline on the way to one environment passes those before it, and is not disturbed there. Once it has arrived
    those are free: a launch may take days.

    Args:
        work: What is under way.
        target: Where to.
        arrived: Environments whose pipelines have begun their launch there.
    """
    for environment in work.pipelines():
        other = work.state.targets.get(environment)
        passed = other.chain if other is not None and environment not in arrived else (environment,)
        if set(passed) & set(target.chain):
            return f"It waits for the pipeline to {environment}."
    return ""
