"""The registry: releases as OCI artifacts."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from softlaunch.core import release

Show = Callable[[str], None]
"""Told what is under way, a line each."""


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

    def claim(self, digest: release.Digest) -> bool:
        """Whether the release is there; what removes releases that nothing needs leaves it alone for a while."""
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Referrer:
    """What was attached to a release later: a signed statement, a report."""

    digest: release.Digest
    """Of the referrer's own manifest."""
    artifact_type: str
    annotations: Mapping[str, str]
    payload: bytes


class Referrers(Protocol):
    def refer(
        self,
        digest: release.Digest,
        *,
        artifact_type: str,
        media_type: str,
        payload: bytes,
        annotations: Mapping[str, str],
    ) -> release.Digest:
        """
        Attaches the payload to the release; the same again changes nothing.

        Returns:
            The digest of the referrer's manifest.

        Raises:
            ConfigError: there is no such release.
        """
        ...

    def referrers(self, digest: release.Digest, artifact_type: str | None = None) -> Sequence[Referrer]:
        """
        What is attached to the release, oldest first, of that type or of all (lineage is one of them).

        Raises:
            UnavailableError: stored bytes do not match their digest, or cannot be read.
        """
        ...

    def check(self, digest: release.Digest) -> Sequence[release.Digest]:
        """
        Reads every blob the release is made of, its manifest first, and returns their digests.

        Raises:
            ConfigError: there is no such release.
            UnavailableError: a blob is absent, or its bytes do not match its digest.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Carried:
    """A release between a registry and this home."""

    digest: release.Digest
    reference: str
    """Where it is now, by digest."""
    carried_bytes: int
    present_bytes: int
    """Of blobs that were there already."""
    referrer_count: int


class Remote(Protocol):
    """Releases in a registry, with everything attached to them."""

    def send(self, digest: release.Digest, reference: str) -> Carried:
        """
        Copies a release of this home to HOST/NAME[:TAG]; the tag is written last.

        Raises:
            ConfigError: no such release, or no right to write there.
            UnavailableError: the registry does not answer or refuses, or a stored blob is damaged.
        """
        ...

    def fetch(self, reference: str) -> Carried:
        """
        Copies a release of HOST/NAME:TAG or HOST/NAME@sha256:HEX into this home; it is listed last.

        Raises:
            ConfigError: no such release, or no right to read it.
            UnavailableError: the registry does not answer, or answers other bytes than were asked for.
        """
        ...

    def tags(self, reference: str) -> Sequence[str]:
        """Tags of a repository, without those that list referrers."""
        ...
