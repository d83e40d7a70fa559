"""
Releases between the layout and a registry, with everything that is attached to them. See ports.registry.Remote.

Sent: blobs, then manifests by digest, then the index under the fallback tag where the registry has no referrers API,
then the tag. Fetched: blobs, then manifests, then the entries of index.json, the release's own last. So whatever breaks
off when, nothing can be found that is not whole; and what was carried over is not carried again.
"""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.adapters.oci import blobs, layout
from softlaunch.core import release, release_json
from softlaunch.distribution import downloads, repository, uploads, whereabouts
from softlaunch.ports import registry

_DEPTH_MAX = 8
"""Of statements about statements; a guess, far beyond what is written."""
_MOUNTED_BYTES = 1 << 16
"""Of smaller blobs sending costs no more than asking; a guess."""
_SETTLE_SECONDS = 0.25
_SETTLE_FACTOR = 4
"""In so much time, or in so many times what it took us, another writer that has read the list of referrers before we
wrote it has written it; guesses."""
_NO_PROGRESS: Callable[[str], None] = lambda _: None  # noqa: E731 - a default that needs a name


class OciRemote:
    """
    Args:
        root: The layout's directory.
        show: Told what is carried, a line each.
    """

    def __init__(self, root: pathlib.Path, show: Callable[[str], None] = _NO_PROGRESS) -> None:
        self._root = root
        self._blobs, self._index, self._show = blobs.Blobs(root), layout.Index(root), show
        self._transfers = root / downloads.FOLDER
        self._whereabouts = whereabouts.Whereabouts(self._transfers)

    def send(self, digest: release.Digest, reference: str) -> registry.Carried:
        """See ports.registry.Remote.send."""
        found = self._with_referrers(digest)
        carried = present = 0
        with repository.Repository(reference) as target:
            for manifest in found.values():
                for blob in _blobs_of(manifest):
                    path = self._blobs.check(blob.digest)
                    if target.has(blob.digest):
                        present += blob.size
                    else:
                        self._show(f"sending {blob.digest.short}, {blob.size:,} bytes")
                        known = self._whereabouts.repository_of(blob.digest, target.host)
                        sent = uploads.send(target, blob.digest, path, self._transfers, known)
                        carried, present = carried + sent, present + blob.size - sent
            for subject, attached in _by_subject(found).items():
                listed = {each["digest"] for each in target.referrers(subject)} if attached else set()
                unlisted = []
                for each in (subject, *attached) if subject == digest else attached:
                    raw = self._blobs.get(each)
                    if (each == digest or each.value in listed) and target.has_manifest(each):
                        present += len(raw)
                        continue
                    is_listed = target.put_manifest(raw, each.value)
                    carried += len(raw)
                    if each != digest and not is_listed:
                        unlisted.append(_described(each, raw, found[each]))
                if unlisted:
                    _write_fallback(target, subject, unlisted)
            if target.is_tagged and target.tagged() != digest:
                raw = self._blobs.get(digest)
                target.put_manifest(raw, target.asked)
                carried += len(raw)
            self._note(target, found.values())
            where = f"{target.host}/{target.name}@{digest}"
        return registry.Carried(
            digest=digest, reference=where, carried_bytes=carried, present_bytes=present, referrer_count=len(found) - 1
        )

    def fetch(self, reference: str) -> registry.Carried:
        """See ports.registry.Remote.fetch."""
        with repository.Repository(reference) as source:
            digest, raw = source.manifest(source.asked)
            manifest = _parsed(raw)
            if manifest is None or manifest.get("artifactType") != layout.RELEASE_ARTIFACT:
                raise errors.ConfigError(
                    f"{reference} is no release of softlaunch.",
                    remedy="Name what `softlaunch registry push` printed.",
                    code=errors.Code.IMAGE_REGISTRY,
                )
            found = {digest: raw, **_referrers(source, digest)}
            carried = present = 0
            for document in found.values():
                for blob in _blobs_of(_parsed(document) or {}):
                    if self._blobs.holds(blob.digest):  # else absent or damaged: fetched, which mends it
                        present += blob.size
                    else:
                        self._show(f"fetching {blob.digest.short}, {blob.size:,} bytes")
                        self._download(source, blob)
                        carried += blob.size
            self._note(source, [_parsed(document) or {} for document in found.values()])
            where = f"{source.host}/{source.name}@{digest}"
        descriptors = [self._stored(each, document) for each, document in found.items()]
        for descriptor in (*descriptors[1:], descriptors[0]):
            self._index.add(lambda _, new=descriptor: new)  # type: ignore[misc]  # a lambda with a default
        return registry.Carried(
            digest=digest, reference=where, carried_bytes=carried, present_bytes=present, referrer_count=len(found) - 1
        )

    def tags(self, reference: str) -> Sequence[str]:
        """See ports.registry.Remote.tags."""
        with repository.Repository(reference) as source:
            return [each for each in source.tags() if not each.startswith("sha256-")]

    def _with_referrers(self, digest: release.Digest) -> dict[release.Digest, dict[str, Any]]:
        """Manifests of the release and of everything attached to it or to that, each behind its subject."""
        listed = {
            each.digest: _parsed(self._blobs.get(each.digest)) or {}
            for each in self._index.read()
            if each.media_type == layout.MANIFEST
        }
        if digest not in listed:
            raise errors.ConfigError(
                f"The registry of this home has no release {digest.short}.",
                remedy="Build it, or name another.",
                code=errors.Code.NO_RELEASE,
            )
        found = {digest: listed[digest]}
        while more := {
            each: manifest
            for each, manifest in listed.items()
            if each not in found and (manifest.get("subject") or {}).get("digest") in {one.value for one in found}
        }:
            found.update(more)
        return found

    def _download(self, source: repository.Repository, blob: layout.Descriptor) -> None:
        target = self._blobs.path(blob.digest)
        with (
            blobs.disk_errors(target.parent),
            downloads.whole(source, blob.digest, blob.size, self._transfers) as part,
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            part.chmod(0o644)
            os.utime(part)  # a part that was begun long ago is young when it takes its place
            with blobs.locked(self._root):
                part.rename(target)
            blobs.sync_directory(target.parent)

    def _note(self, place: repository.Repository, manifests: Iterable[dict[str, Any]]) -> None:
        """Remembers where large blobs are, to mount them from there."""
        large = [blob.digest for manifest in manifests for blob in _blobs_of(manifest) if blob.size >= _MOUNTED_BYTES]
        if large:
            self._whereabouts.note(large, place.host, place.name)

    def _stored(self, digest: release.Digest, raw: bytes) -> layout.Descriptor:
        manifest = _parsed(raw) or {}
        if manifest.get("artifactType") == layout.LINEAGE_ARTIFACT:
            release_json.load_lineage(self._blobs.get(_blobs_of(manifest)[1].digest))  # else no list could be read
        self._blobs.put(raw)
        return _described(digest, raw, manifest)


def _referrers(source: repository.Repository, digest: release.Digest, depth: int = 0) -> dict[release.Digest, bytes]:
    found: dict[release.Digest, bytes] = {}
    if depth >= _DEPTH_MAX:
        return found
    for listed in source.referrers(digest):
        each = release.Digest(listed["digest"])
        raw = source.manifest(each.value)[1]
        manifest = _parsed(raw)
        subject = (manifest or {}).get("subject")
        if manifest is None or not manifest["layers"] or not isinstance(subject, dict):
            continue  # an index, or nothing that carries a statement
        if subject.get("digest") == digest.value:
            found = {**found, each: raw, **_referrers(source, each, depth + 1)}
    return found


def _by_subject(found: dict[release.Digest, dict[str, Any]]) -> dict[release.Digest, list[release.Digest]]:
    """The release first, and everything that something is attached to: what is attached to it."""
    subjects: dict[release.Digest, list[release.Digest]] = {next(iter(found)): []}
    for each, manifest in list(found.items())[1:]:
        subjects.setdefault(_subject(manifest), []).append(each)
    return subjects


def _write_fallback(target: repository.Repository, subject: release.Digest, new: Sequence[layout.Descriptor]) -> None:
    """
    Adds to the index under the fallback tag, until it is seen to hold what is new.

    Few registries compare an ETag there: who reads the index and writes it later takes away what was added meanwhile.
    So it is looked at again after a while, and whoever finds his own missing adds it to what is there then.
    """
    wanted = {each.digest.value: each.document() for each in new}
    for _ in range(repository.TRIES * 2):
        began = time.monotonic()
        present, etag = target.fallback(subject)
        listed = {each["digest"]: each for each in present}
        if wanted.keys() <= listed.keys():
            return
        document = {"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": list((listed | wanted).values())}
        if target.put_fallback(subject, layout.canonical(document), etag):
            time.sleep(max(_SETTLE_SECONDS, _SETTLE_FACTOR * (time.monotonic() - began)))
    raise target.failed("loses what is added to its list of referrers")


def _blobs_of(manifest: dict[str, Any]) -> list[layout.Descriptor]:
    """Config and layers."""
    return [layout.parse(each) for each in (manifest["config"], *manifest["layers"])]


def _described(digest: release.Digest, raw: bytes, manifest: dict[str, Any]) -> layout.Descriptor:
    return layout.Descriptor(
        media_type=layout.MANIFEST,
        digest=digest,
        size=len(raw),
        artifact_type=manifest.get("artifactType") or manifest["config"]["mediaType"],
        annotations=tuple(sorted((manifest.get("annotations") or {}).items())),
    )


def _subject(manifest: dict[str, Any]) -> release.Digest:
    return release.Digest(manifest["subject"]["digest"])


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """The manifest; None when it is none that can be used."""
    try:
        found = json.loads(raw)
        _blobs_of(found)
    except (ValueError, KeyError, TypeError, errors.InvariantError):
        return None
    return found if isinstance(found, dict) else None
