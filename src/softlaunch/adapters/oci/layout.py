"""
index.json and manifests of an OCI image layout.

A release is a manifest in the ModelPack media types with up to four layers; a lineage record is a manifest of its own
whose `subject` is the release (the OCI referrers model). index.json lists both, the oldest first, and is changed under
a lock by rename. Nothing in a manifest tells the time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.adapters.oci import blobs
from softlaunch.core import release

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
RELEASE_ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
RELEASE_CONFIG = "application/vnd.cncf.model.config.v1+json"
WEIGHT_LAYER = "application/vnd.cncf.model.weight.v1.tar"
CODE_LAYER = "application/vnd.cncf.model.code.v1.tar"
DOC_LAYER = "application/vnd.cncf.model.doc.v1.tar"
LINEAGE_ARTIFACT = "application/vnd.softlaunch.lineage.v1+json"
SERVICE_ANNOTATION = "dev.softlaunch.service"
NAME_ANNOTATION = "org.opencontainers.image.ref.name"
"""The tag of an entry of index.json."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descriptor:
    media_type: str
    digest: release.Digest
    size: int
    artifact_type: str | None = None
    annotations: tuple[tuple[str, str], ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON."""
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.artifact_type is not None:
            found["artifactType"] = self.artifact_type
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        return found


def parse(document: dict[str, Any]) -> Descriptor:
    """The descriptor in a JSON document."""
    return Descriptor(
        media_type=document["mediaType"],
        digest=release.Digest(document["digest"]),
        size=document["size"],
        artifact_type=document.get("artifactType"),
        annotations=tuple(sorted(document.get("annotations", {}).items())),
    )


def canonical(document: dict[str, Any]) -> bytes:
    """The same bytes for the same document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Index:
    """index.json of the layout at `root`; created with the first change."""

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        self._path = root / "index.json"

    def read(self) -> tuple[Descriptor, ...]:
        """
        Every manifest listed, oldest first; none when there is no layout yet.

        Raises:
            UnavailableError: the file cannot be read.
        """
        try:
            document = json.loads(self._path.read_bytes())
            return tuple(parse(each) for each in document["manifests"])
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError, errors.InvariantError) as error:
            raise errors.UnavailableError(
                f"The registry's index {self._path} cannot be read ({error}).",
                remedy="Restore it from a copy, or move the registry away and build again.",
                code=errors.Code.REGISTRY_DAMAGED,
            ) from error

    def add(self, make: Callable[[tuple[Descriptor, ...]], Descriptor | None]) -> None:
        """Under the lock: appends what `make` returns for the present list, unless that is None or listed already."""
        with self._locked():
            present = self.read()
            new = make(present)
            if new is not None and all(each.digest != new.digest for each in present):
                self.replace((*present, new))

    def change(self, make: Callable[[tuple[Descriptor, ...]], Sequence[Descriptor]]) -> None:
        """Under the lock: what `make` returns for the present list takes its place."""
        with self._locked():
            self.replace(make(self.read()))

    def replace(self, listed: Sequence[Descriptor]) -> None:
        """Writes the list; the caller holds the lock exclusively."""
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [each.document() for each in listed]}
        blobs.write_whole(self._path, canonical(document))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with blobs.locked(self._root, exclusive=True):
            marker = self._root / "oci-layout"
            if not marker.exists():
                blobs.write_whole(marker, canonical({"imageLayoutVersion": "1.0.0"}))
            yield
