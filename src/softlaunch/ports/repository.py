"""A repository that is followed: what its server says, a copy of it here, and the way back into it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heads:
    """What the server has."""

    default: str
    """Name of the default branch; empty when the server does not say."""
    branches: Mapping[str, str]
    """Commit by branch."""


class Repository(Protocol):
    """The server's repository and the copy of it kept here. `path`s and trees are those of the service's folder."""

    def look(self) -> Heads:
        """
        Asks the server which commits its branches have.

        Raises:
            UnavailableError: the server cannot be reached, or lets nobody in.
        """
        ...

    def fetch(self) -> None:
        """
        Brings the copy up to date.

        Raises:
            UnavailableError: as `look`.
        """
        ...

    def read(self, commit: str, path: str) -> bytes | None:
        """One file of the commit's folder; None when it is not there."""
        ...

    def tree(self, commit: str) -> str:
        """A name of the content of the commit's folder; empty when commit or folder are not in the copy."""
        ...

    def descends(self, commit: str, ancestor: str) -> bool:
        """Whether `ancestor` is `commit` or among what it was made from; False also where it is not known any more."""
        ...

    def unsigned(self, commit: str) -> str:
        """Why the commit's signature is not good, one sentence; empty: it is."""
        ...

    def checkout(self, place: str, *, branch: str, commit: str) -> pathlib.Path:
        """The service's folder with exactly the commit's files, in a directory kept for `place` (a plain name)."""
        ...

    def keep(self, branch: str, commit: str) -> None:
        """Sees to it that the copy does not lose a commit that a branch had, even when the server does."""
        ...


class Reverts(Protocol):
    """Writes back what a rollback means."""

    def write(self, *, tip: str, bad: str, good: Sequence[str], reason: str, at: float) -> str:
        """
        A new commit on `tip` without what came between the last of `good` that led to `bad`, and `bad`.

        Where none of `good` led to it: without what `bad` itself changed. Where `bad` did not lead to `tip` by itself,
        but in a merge, `tip` is taken for it. Only the service's folder is touched.

        Args:
            tip: The branch's newest commit.
            bad: What was taken back.
            good: Commits known to be good.
            reason: For the message.
            at: Unix seconds, the commit's date: the same arguments give the same commit.

        Returns:
            Its id.

        Raises:
            ConfigError: what came after `bad` builds on it, so that it cannot be taken out by itself.
        """
        ...

    def push(self, commit: str, *, branch: str, into: str = "") -> str:
        """
        Gives a commit to the server, as the next one of `branch`.

        Args:
            commit: What `write` gave.
            branch: May be new.
            into: Ask for a merge request into this branch, where the server takes such wishes.

        Returns:
            What the server said about it.

        Raises:
            ConflictError: the server refuses it: the branch is protected, or has moved.
            UnavailableError: the server cannot be reached, or lets nobody in.
        """
        ...
