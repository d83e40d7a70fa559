"""
Garbage of an OCI image layout: releases that nothing needs any more, and blobs that nothing lists.

Found by what is listed, never by counting: index.json loses what goes first, by rename, then files are removed. Killed
at any moment, every release that is listed is whole, and what is left over the next collection takes.

What is being written is not listed yet. So a file is removed only when it is older than a grace period, everybody who
counts on a file that is there already makes it young again (`Blobs.put`, `Blobs.holds`, `OciRegistry.claim`), and both
are done under the layout's lock: shared by those who write, exclusive for the collection.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from softlaunch import errors
from softlaunch.adapters.oci import blobs, layout
from softlaunch.core import release

Age = Callable[[pathlib.Path], float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collected:
    """What went, or would go."""

    releases: tuple[release.Digest, ...]
    young: tuple[release.Digest, ...]
    """Releases that nothing needs, and that are too young to go."""
    referrer_count: int
    file_count: int
    freed_bytes: int


class Garbage:
    """
    Args:
        root: The layout's directory.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        self._blobs = blobs.Blobs(root)
        self._index = layout.Index(root)

    def collect(
        self,
        needed: Callable[[], Collection[release.Digest]],
        *,
        grace_seconds: float,
        dry_run: bool = False,
        removed: Callable[[release.Digest], None] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> Collected:
        """
        Removes what is not needed, not listed and not young.

        Args:
            needed: Releases that stay, with what is attached to them; asked while nobody else can write.
            grace_seconds: Nothing younger goes.
            dry_run: Only says what would go.
            removed: Told of each release that has gone, while nobody else can write.
            now: Unix seconds.

        Raises:
            UnavailableError: something that is listed cannot be read: nothing is removed then.
        """
        with blobs.locked(self._root, exclusive=True):
            listed = self._index.read()
            present = {each.digest for each in listed}
            if not (self._root / "index.json").exists() and self._blobs.files():
                raise _lost(f"{self._root / 'index.json'} is not there, and blobs are")
            manifests = {each.digest: self._manifest(each) for each in listed}
            kept_releases = set(needed())
            for digest in sorted(kept_releases - present):
                if self._blobs.path(digest).is_file():
                    raise _lost(f"release {digest.short} is needed and here, and index.json does not list it")
            oldest = now() - grace_seconds
            idle = [
                each.digest
                for each in listed
                if each.artifact_type == layout.RELEASE_ARTIFACT and each.digest not in kept_releases
            ]
            young = {digest for digest in idle if self._newest(digest, manifests) > oldest}
            gone = _with_referrers({digest for digest in idle if digest not in young}, manifests)
            left = [each for each in listed if each.digest not in gone]
            reachable = {found for each in left for found in self._reach(each.digest, manifests[each.digest])}
            files = [(path, path.stat()) for path in self._blobs.files()]
            stale = [
                (path, found.st_size)
                for path, found in files
                if found.st_mtime <= oldest and (path.name.startswith(".") or _digest(path) not in reachable)
            ]
            if not dry_run:
                if gone:
                    self._index.replace(left)
                for digest in gone.intersection(idle):
                    removed(digest)
                for path, _ in stale:
                    path.unlink(missing_ok=True)
        released = tuple(dict.fromkeys(digest for digest in idle if digest in gone))
        return Collected(
            releases=released,
            young=tuple(dict.fromkeys(digest for digest in idle if digest in young)),
            referrer_count=len(gone) - len(released),
            file_count=len(stale),
            freed_bytes=sum(size for _, size in stale),
        )

    def _manifest(self, listed: layout.Descriptor) -> dict[str, Any]:
        try:
            found = json.loads(self._blobs.get(listed.digest))
        except ValueError as error:
            raise blobs.damaged(listed.digest, "is no manifest") from error
        if not isinstance(found, dict):
            raise blobs.damaged(listed.digest, "is no manifest")
        return found

    def _newest(self, digest: release.Digest, manifests: Mapping[release.Digest, dict[str, Any]]) -> float:
        """When a release, or something that is attached to it, was written or claimed last."""
        return max(
            self._blobs.path(each).stat().st_mtime
            for each, manifest in manifests.items()
            if each == digest or _subject(manifest) == digest.value
        )

    def _reach(self, digest: release.Digest, manifest: dict[str, Any]) -> Iterator[str]:
        """Digests of everything a manifest, or an index of manifests, stands for."""
        yield digest.value
        try:
            for each in (manifest.get("config"), *manifest.get("layers", ())):
                if each is not None:
                    yield each["digest"]
            for each in manifest.get("manifests", ()):
                inner = layout.parse(each)
                if self._blobs.path(inner.digest).is_file():  # a copy may leave out platforms
                    yield from self._reach(inner.digest, self._manifest(inner))
        except (KeyError, TypeError, AttributeError, errors.InvariantError) as error:
            raise blobs.damaged(digest, "is no manifest") from error


def _lost(what: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"Nothing was removed: {what}.",
        remedy="Restore index.json of the registry from a copy, or build what is needed again; then collect.",
        code=errors.Code.REGISTRY_DAMAGED,
    )


def _with_referrers(
    gone: set[release.Digest], manifests: Mapping[release.Digest, dict[str, Any]]
) -> set[release.Digest]:
    """With what is attached to them, and to that."""
    found = set(gone)
    while more := {
        each
        for each, manifest in manifests.items()
        if each not in found and (subject := _subject(manifest)) and subject in {one.value for one in found}
    }:
        found |= more
    return found


def _subject(manifest: dict[str, Any]) -> str:
    found = manifest.get("subject")
    return str(found.get("digest", "")) if isinstance(found, dict) else ""


def _digest(path: pathlib.Path) -> str:
    return f"sha256:{path.name}"
