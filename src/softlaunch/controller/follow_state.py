"""
What is remembered about repositories that are followed.

Two kinds of bookmarks in the store: one list of what people asked for, and per service one document of how far it has
got. A control plane that is killed goes on from there: tips that were accepted stay accepted, and what was reverted is
not reverted twice.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from typing import Any

from softlaunch import errors
from softlaunch.core import gitops
from softlaunch.ports import store as stores

_FOLLOWS = "git.follows"
_STATE = "git.state."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Follow:
    """One service that follows a repository."""

    service: str
    url: str
    """Without user name and password."""
    folder: str = ""
    """Of the service, relative to the repository's top."""
    every_seconds: float = 10.0
    on_rollback: gitops.OnRollback = gitops.OnRollback.REVERT
    require_signed_commits: bool = False
    update_lock: str = ""
    """The branch on which softlaunch.lock is kept up to date; empty: on none."""
    lock_every_seconds: float = 300.0
    by: str = ""
    """Who asked for it."""
    since: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Branch:
    """How far a branch has been followed."""

    accepted: str = ""
    """The last commit that was accepted; empty: none was yet."""
    tip: str = ""
    seen_at: float = 0.0
    """When the tip was seen first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """What Git says about one environment."""

    environment: str
    branch: str
    commit: str
    """The branch's tip; empty: there is no such branch."""
    tree: str = ""
    trouble: str = ""
    chain: tuple[str, ...] = ()
    """Environments a release passes on its way there, itself last."""
    settings: str = ""
    """What it says of `env:` and `secrets:` (controller.arms.rendered); empty: not known."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Revert:
    """What became of the commit that takes a pinned one back."""

    state: str
    """`pushed` (on the branch), `offered` (on a branch of its own), `pending` (tried again), `refused` (for people)."""
    branch: str = ""
    """Where the commit is."""
    commit: str = ""
    text: str = ""
    tried_at: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lock:
    """What became of the last look at what softlaunch.lock pins."""

    looked_at: float = 0.0
    commit: str = ""
    """The last one that was written."""
    text: str = ""
    """One sentence for people."""
    trouble: bool = False


@dataclasses.dataclass(kw_only=True)
class State:
    """How far one service has got."""

    polled_at: float = 0.0
    """The last time the server was asked, whether it answered or not."""
    unreachable_since: float | None = None
    trouble: str = ""
    """Why nothing can be followed at all; empty: nothing is wrong."""
    targets: dict[str, Target] = dataclasses.field(default_factory=dict)
    branches: dict[str, Branch] = dataclasses.field(default_factory=dict)
    attempts: dict[str, gitops.Attempt] = dataclasses.field(default_factory=dict)
    """The last pipeline, by environment."""
    reverts: dict[str, Revert] = dataclasses.field(default_factory=dict)
    """By branch and release, as `revert_key` joins them."""
    allowed: list[str] = dataclasses.field(default_factory=list)
    """Commits somebody accepted by name, and those softlaunch wrote itself."""
    told: dict[str, str] = dataclasses.field(default_factory=dict)
    """What the history was told last, by environment."""
    lock: Lock = dataclasses.field(default_factory=Lock)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def read(cls, found: dict[str, Any]) -> State:
        """The state of such a document; a pipeline that ran then was interrupted."""
        made = cls(**found)
        made.targets = {
            name: Target(**{**each, "chain": tuple(each["chain"])}) for name, each in found["targets"].items()
        }
        made.branches = {name: Branch(**each) for name, each in found["branches"].items()}
        made.lock = Lock(**found.get("lock", {}))
        made.reverts = {name: Revert(**each) for name, each in found["reverts"].items()}
        made.attempts = {name: _interrupted(gitops.Attempt(**each)) for name, each in found["attempts"].items()}
        return made


def revert_key(branch: str, release: str) -> str:
    """A branch takes a release back once."""
    return f"{branch} {release}"


class Follows:
    """
    The records, kept in the store; may be used by several threads.

    Args:
        store: Where.
    """

    def __init__(self, store: stores.Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        kept = json.loads(store.bookmark(_FOLLOWS) or "[]")
        self._follows = {
            found["service"]: Follow(**{**found, "on_rollback": gitops.OnRollback(found["on_rollback"])})
            for found in kept
        }

    def all(self) -> tuple[Follow, ...]:
        with self._lock:
            return tuple(self._follows[name] for name in sorted(self._follows))

    def get(self, service: str) -> Follow:
        """
        Raises:
            ConfigError: the service follows no repository.
        """
        with self._lock:
            found = self._follows.get(service)
        if found is None:
            raise errors.ConfigError(
                f"{service!r} follows no repository.",
                remedy="`softlaunch follow URL` begins it; `softlaunch sync --status` lists what is followed.",
                code=errors.Code.NO_FOLLOW,
            )
        return found

    def put(self, follow: Follow, state: State) -> None:
        """
        Begins to follow, or goes on in another way.

        Raises:
            UnavailableError: it could not be written down; nothing has changed.
        """
        with self._lock:
            changed = {**self._follows, follow.service: follow}
            self._write(changed, {_STATE + follow.service: json.dumps(state.document())})

    def remove(self, service: str) -> Follow:
        """
        Raises:
            ConfigError: the service follows no repository.
            UnavailableError: as `put`.
        """
        found = self.get(service)
        with self._lock:
            changed = {name: each for name, each in self._follows.items() if name != service}
            self._write(changed, {_STATE + service: ""})
        return found

    def state(self, service: str) -> State:
        """How far the service has got; at the beginning where nothing is known."""
        kept = self._store.bookmark(_STATE + service)
        return State.read(json.loads(kept)) if kept else State()

    def save(self, service: str, state: State) -> None:
        """
        Raises:
            UnavailableError: it could not be written down.
        """
        self._store.commit(stores.Change(bookmarks={_STATE + service: json.dumps(state.document())}))

    def _write(self, changed: dict[str, Follow], more: dict[str, str]) -> None:
        listed = json.dumps([dataclasses.asdict(each) for each in changed.values()])
        self._store.commit(stores.Change(bookmarks={_FOLLOWS: listed, **more}))
        self._follows = changed


def _interrupted(attempt: gitops.Attempt) -> gitops.Attempt:
    if attempt.exit_code is not None:
        return attempt
    return dataclasses.replace(attempt, exit_code=4, ended_at=0.0, text="The control plane ended while it ran.")
