"""The registry: releases as OCI artifacts."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Protocol

from softlaunch.core import release


class Registry(Protocol):
    def push(self, directory: pathlib.Path) -> release.Digest:
        """
        Stores an unpacked release directory (see ReleaseContent) and returns its digest.

        The digest depends on nothing but the content: not on order, times, owners, umask or the directory's name.
        Pushing the same content again changes nothing.
        """
        ...

    def pull(self, digest: release.Digest, directory: pathlib.Path) -> release.ReleaseContent:
        """
        Unpacks the release into `directory` (created by rename, so it is whole or absent), checking every digest.

        Nothing in it may be written to: modes are 0444, and 0555 of directories and programs.

        A directory that is there already is checked against the digest, and unpacked anew when it differs.

        Raises:
            ConfigError: there is no such release.
            UnavailableError: the stored bytes do not match their digest.
        """
        ...

    def attach(self, digest: release.Digest, lineage: release.Lineage) -> None:
        """Adds a lineage record as a referrer of the digest; the same record again changes nothing."""
        ...

    def lineage(self, digest: release.Digest) -> Sequence[release.Lineage]:
        """Every lineage record of the release, oldest first."""
        ...

    def resolve(self, reference: str, *, service: str | None = None) -> release.Digest | None:
        """The release that a digest, digest prefix (>= 6 hex), commit (>= 7 hex), tag or branch names, or None."""
        ...

    def newest(self, service: str) -> Sequence[release.Digest]:
        """Releases of the service that have lineage, each once: whose lineage was attached last comes first."""
        ...
