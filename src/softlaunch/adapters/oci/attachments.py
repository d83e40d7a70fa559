"""
Referrers in an OCI image layout: manifests whose `subject` is a release.

Ours are listed in index.json. What was copied from a registry without the referrers API hangs on an index under the
fallback tag (`sha256-HEX`) instead; that is read too, never written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.adapters.oci import blobs, layout
from softlaunch.core import release
from softlaunch.ports import registry

_EMPTY = b"{}"


class Attachments:
    """
    What is attached to the releases of one layout.

    Args:
        storage: The layout's blobs.
        index: Its index.json.
    """

    def __init__(self, storage: blobs.Blobs, index: layout.Index) -> None:
        self._blobs = storage
        self._index = index
        self._subjects: dict[release.Digest, str | None] = {}

    def add(
        self,
        subject: layout.Descriptor,
        *,
        artifact_type: str,
        media_type: str,
        payload: bytes,
        annotations: Mapping[str, str],
    ) -> release.Digest:
        """Stores the payload and lists it; returns the digest of its manifest."""
        plain = layout.Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": layout.MANIFEST,
            "artifactType": artifact_type,
            "config": self._put(layout.EMPTY, _EMPTY).document(),
            "layers": [self._put(media_type, payload).document()],
            "subject": plain.document(),
        }
        if annotations:
            document["annotations"] = dict(annotations)
        raw = layout.canonical(document)
        descriptor = layout.Descriptor(
            media_type=layout.MANIFEST,
            digest=self._blobs.put(raw),
            size=len(raw),
            artifact_type=artifact_type,
            annotations=tuple(sorted(annotations.items())),
        )
        self._index.add(lambda _: descriptor)
        return descriptor.digest

    def of(self, digest: release.Digest, artifact_type: str | None) -> Sequence[registry.Referrer]:
        """See ports.registry.Referrers.referrers."""
        found: dict[release.Digest, registry.Referrer] = {}
        for each in self._candidates(digest):
            if each in found or not self._is_of(each, digest):
                continue
            manifest = self._manifest(each)
            kind = manifest.get("artifactType") or manifest.get("config", {}).get("mediaType", "")
            if artifact_type is not None and kind != artifact_type:
                continue
            try:
                payload = self._blobs.get(release.Digest(manifest["layers"][0]["digest"]))
            except (LookupError, TypeError, errors.InvariantError) as error:
                raise blobs.damaged(each, "names no payload") from error
            found[each] = registry.Referrer(
                digest=each, artifact_type=kind, annotations=manifest.get("annotations") or {}, payload=payload
            )
        return tuple(found.values())

    def _candidates(self, digest: release.Digest) -> Iterator[release.Digest]:
        tag = digest.value.replace(":", "-")
        for each in self._index.read():
            if each.media_type == layout.MANIFEST:
                yield each.digest
            elif each.media_type == layout.INDEX and dict(each.annotations).get(layout.NAME_ANNOTATION) == tag:
                for inner in json.loads(self._blobs.get(each.digest))["manifests"]:
                    yield layout.parse(inner).digest

    def _is_of(self, digest: release.Digest, subject: release.Digest) -> bool:
        """Manifests never change, so each is asked once for its subject."""
        if digest not in self._subjects:
            found = self._manifest(digest).get("subject")
            self._subjects[digest] = found.get("digest") if isinstance(found, dict) else None
        return self._subjects[digest] == subject.value

    def _manifest(self, digest: release.Digest) -> dict[str, Any]:
        try:
            found = json.loads(self._blobs.get(digest))
        except ValueError as error:
            raise blobs.damaged(digest, "is no manifest") from error
        if not isinstance(found, dict):
            raise blobs.damaged(digest, "is no manifest")
        return found

    def _put(self, media_type: str, raw: bytes) -> layout.Descriptor:
        return layout.Descriptor(media_type=media_type, digest=self._blobs.put(raw), size=len(raw))
