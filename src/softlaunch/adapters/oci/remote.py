"""
Releases between the layout and a registry, with everything that is attached to them. See ports.registry.Remote.

Sent: blobs, then manifests by digest, then the index under the fallback tag where the registry has no referrers API,
then the tag. Fetched: blobs, then manifests, then the entries of index.json, the release's own last. So whatever breaks
off when, nothing can be found that is not whole; and what was carried over is not carried again.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.adapters.oci import blobs, layout
from softlaunch.core import release, release_json
from softlaunch.distribution import repository
from softlaunch.ports import registry

_DEPTH_MAX = 8
"""Of statements about statements; a guess, far beyond what is written."""
_NO_PROGRESS: Callable[[str], None] = lambda _: None  # noqa: E731 - a default that needs a name


class OciRemote:
    """
    Args:
        root: The layout's directory.
        show: Told what is carried, a line each.
    """

    def __init__(self, root: pathlib.Path, show: Callable[[str], None] = _NO_PROGRESS) -> None:
        self._blobs, self._index, self._show = blobs.Blobs(root), layout.Index(root), show

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
                        self._show(f"sending {blob.digest.short}, {blob.size} bytes")
                        target.upload(blob.digest, path)
                        carried += blob.size
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
                    if self._holds(blob.digest):
                        present += blob.size
                    else:
                        self._show(f"fetching {blob.digest.short}, {blob.size} bytes")
                        self._download(source, blob)
                        carried += blob.size
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

    def _holds(self, digest: release.Digest) -> bool:
        try:
            self._blobs.check(digest)
        except errors.UnavailableError:  # absent or damaged: fetched, which mends it
            return False
        return True

    def _download(self, source: repository.Repository, blob: layout.Descriptor) -> None:
        with self._blobs.writing() as writer:
            for chunk in source.chunks(blob.digest):
                writer.write(chunk)
                if writer.size > blob.size:
                    break
            if (writer.digest, writer.size) != (blob.digest, blob.size):
                raise source.failed(f"answered other bytes than {blob.digest} is named for")

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
    tag = repository.fallback_tag(subject)
    before = target.find_manifest(tag)
    listed = {each["digest"]: each for each in (target.listed(before[1]) if before is not None else ())}
    listed |= {each.digest.value: each.document() for each in new}
    document = {"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": list(listed.values())}
    target.put_manifest(layout.canonical(document), tag, layout.INDEX)


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
