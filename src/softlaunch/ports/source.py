"""The source repository: where commits come from."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Commit:
    id: str
    """Full hex object name."""
    author: str
    committed_at: str
    """RFC 3339, UTC."""
    branch: str | None
    """The branch asked for, or the one checked out when the commit is its tip; None otherwise."""
    tags: tuple[str, ...]


class Source(Protocol):
    def resolve(self, ref: str) -> Commit:
        """
        The commit a branch, tag or (abbreviated) id names.

        Raises:
            ConfigError: there is no such ref, or it looks like an option.
        """
        ...

    def checkout(self, commit: Commit, directory: pathlib.Path) -> None:
        """Writes the files of the commit, and nothing else, into `directory`: those of the service's own folder."""
        ...

    def read(self, commit: Commit, path: str) -> bytes | None:
        """One file of the commit, relative to the service's folder; None when it is not there."""
        ...
