"""
Images between a layout and a registry. See ports.images.Transport.

Blobs are asked for before they are sent, so that what a registry has is never sent again; the manifest goes last, so
that a push that breaks off leaves nothing that could be pulled.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from softlaunch import errors
from softlaunch.adapters.images import store
from softlaunch.core import release
from softlaunch.distribution import downloads, repository, uploads
from softlaunch.ports import images


class Registries:
    """See ports.images.Transport."""

    def fetch(self, reference: str, layout: pathlib.Path, *, architecture: str) -> release.Digest:
        """See ports.images.Transport.fetch."""
        with repository.Repository(reference) as source:
            into = store.Store(layout)
            digest, raw = source.manifest(source.asked)
            document = json.loads(raw)
            if "manifests" in document:
                digest = _of_platform(document, architecture, reference)
                digest, raw = source.manifest(digest.value)
                document = json.loads(raw)
            for each in (document["config"], *document["layers"]):
                _download(source, release.Digest(each["digest"]), each["size"], into)
            into.put(raw)
        return digest

    def send(self, layout: pathlib.Path, digest: release.Digest, reference: str) -> images.Sent:
        """See ports.images.Transport.send."""
        source = store.Store(layout)
        raw = source.read(digest)
        sent = present = 0
        with repository.Repository(reference) as target:
            for blob, size in store.blobs_of(source.read, digest)[:-1]:
                if target.has(blob):
                    present += size
                else:
                    sent += uploads.send(target, blob, source.path(blob), layout / downloads.FOLDER)
            target.put_manifest(raw, target.asked if target.is_tagged else digest.value)
        return images.Sent(digest=digest, sent_bytes=sent + len(raw), present_bytes=present)


def _download(source: repository.Repository, digest: release.Digest, size: int, into: store.Store) -> None:
    if not into.holds(digest):
        path = into.path(digest)
        with (
            store.disk_errors(into.root),
            downloads.whole(source, digest, size, into.root / downloads.FOLDER) as part,
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            part.chmod(0o644)
            part.rename(path)


def _of_platform(index: Mapping[str, Any], architecture: str, reference: str) -> release.Digest:
    for each in index["manifests"]:
        platform = each.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return release.Digest(each["digest"])
    raise errors.ConfigError(
        f"{reference} has no image for linux/{architecture}.",
        remedy="Choose another --arch or another base.",
        code=errors.Code.IMAGE_BASE,
    )
