"""Files that a commit only points at: Git LFS, DVC."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """What a path of a commit stands for."""

    uri: str
    """KIND:PATH, as a pin says it."""
    version: str
    """The digest the commit names, as ALGORITHM:HEX."""


class Materials(Protocol):
    """One way of keeping files outside of Git while their paths stay inside."""

    def find(self, checkout: pathlib.Path, name: str) -> Material | None:
        """
        What the path stands for in a checkout of the service's folder; None when it is nothing of this kind.

        Raises:
            ConfigError: it is of this kind, and broken.
        """
        ...

    def fetch(self, checkout: pathlib.Path, name: str, path: pathlib.Path) -> None:
        """
        Writes the file or directory that `find` found to `path`, which does not exist; its bytes are what the commit
        names.

        Raises:
            ConfigError: what is there is not what the commit names.
            UnavailableError: it cannot be fetched.
        """
        ...
