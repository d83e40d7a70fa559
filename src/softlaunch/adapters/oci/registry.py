"""Releases in an OCI image layout, a directory any OCI tool reads; see ports.registry.Registry."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

from softlaunch import errors
from softlaunch.adapters.oci import attachments, blobs, layers, layout
from softlaunch.core import release, release_json
from softlaunch.ports import registry

_LAYERS = (
    (layout.DOC_LAYER, ("release.json", "requirements.lock", "profile.json", "smoke.json", "drill.json")),
    (layout.WEIGHT_LAYER, ("model",)),
    (layout.CODE_LAYER, ("code",)),
)
"""What changes rarely together lies in one layer: a new model leaves the code's blob as it is."""
_DIGEST_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")
_COMMIT_PREFIX = re.compile(r"[0-9a-f]{7,64}")


class OciRegistry:
    """
    See ports.registry.Registry and Referrers.

    Args:
        root: The layout's directory; created with the first push.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        self._blobs = blobs.Blobs(root)
        self._index = layout.Index(root)
        self._attachments = attachments.Attachments(self._blobs, self._index)
        self._records: dict[release.Digest, tuple[release.Digest, release.Lineage]] = {}

    def push(self, directory: pathlib.Path) -> release.Digest:
        """See ports.registry.Registry.push."""
        content = _described(directory)
        descriptors = []
        for media_type, names in _LAYERS:
            found = [entry for name in names for entry in layers.entries(directory, name)]
            if found:
                with self._blobs.writing() as writer:
                    layers.write(writer, directory, found)
                descriptors.append(
                    layout.Descriptor(media_type=media_type, digest=writer.digest, size=writer.size).document()
                )
        config = layout.canonical(
            {
                "descriptor": {"name": content.service},
                "config": {"format": content.runtime.value},
                "modelfs": {"type": "layers", "diffIds": [each["digest"] for each in descriptors]},
            }
        )
        manifest = layout.canonical(
            {
                "schemaVersion": 2,
                "mediaType": layout.MANIFEST,
                "artifactType": layout.RELEASE_ARTIFACT,
                "config": self._descriptor(layout.RELEASE_CONFIG, config).document(),
                "layers": descriptors,
                "annotations": {layout.SERVICE_ANNOTATION: content.service},
            }
        )
        descriptor = self._descriptor(
            layout.MANIFEST,
            manifest,
            artifact_type=layout.RELEASE_ARTIFACT,
            annotations=((layout.SERVICE_ANNOTATION, content.service),),
        )
        self._index.add(lambda _: descriptor)
        return descriptor.digest

    def pull(self, digest: release.Digest, directory: pathlib.Path) -> release.ReleaseContent:
        """See ports.registry.Registry.pull."""
        if not self.claim(digest):
            raise _absent(digest)
        manifest = self._document(digest)
        if directory.is_dir():
            if [each["digest"] for each in manifest["layers"]] == list(_layer_digests(directory)):
                layers.seal(directory)  # one that was unpacked before releases were read-only
                return _described(directory)
            import structlog  # noqa: PLC0415 - Rich comes with it; a warning is rare, and most commands have none

            structlog.get_logger(__name__).warning(
                "unpacked_release_changed", release=digest.short, directory=str(directory)
            )
            shutil.rmtree(put_aside(directory), ignore_errors=True)
        with blobs.disk_errors(directory.parent):
            directory.parent.mkdir(parents=True, exist_ok=True)
            scratch = pathlib.Path(tempfile.mkdtemp(dir=directory.parent, prefix=".pulling-"))
            try:
                scratch.chmod(0o755)
                for each in manifest["layers"]:
                    layers.extract(self._blobs.check(release.Digest(each["digest"])), scratch)
                layers.seal(scratch)
                _rename(scratch, directory)
            finally:
                layers.unseal(scratch)
                shutil.rmtree(scratch, ignore_errors=True)
        return _described(directory)

    def claim(self, digest: release.Digest) -> bool:
        """See ports.registry.Registry.claim."""
        # In this order: a collection of garbage between the two has not removed it, or it is seen to be gone.
        return self._blobs.claim(digest) and any(each.digest == digest for each in self._releases())

    def attach(self, digest: release.Digest, lineage: release.Lineage) -> None:
        """See ports.registry.Registry.attach."""
        self.refer(
            digest,
            artifact_type=layout.LINEAGE_ARTIFACT,
            media_type=layout.LINEAGE_ARTIFACT,
            payload=release_json.dump_lineage(lineage),
            annotations={},
        )

    def refer(
        self,
        digest: release.Digest,
        *,
        artifact_type: str,
        media_type: str,
        payload: bytes,
        annotations: Mapping[str, str],
    ) -> release.Digest:
        """See ports.registry.Referrers.refer."""
        subject = next((each for each in self._releases() if each.digest == digest), None)
        if subject is None or not self.claim(digest):
            raise _absent(digest)
        return self._attachments.add(
            subject, artifact_type=artifact_type, media_type=media_type, payload=payload, annotations=annotations
        )

    def referrers(self, digest: release.Digest, artifact_type: str | None = None) -> Sequence[registry.Referrer]:
        """See ports.registry.Referrers.referrers; also those that an index under the fallback tag names."""
        return self._attachments.of(digest, artifact_type)

    def check(self, digest: release.Digest) -> Sequence[release.Digest]:
        """See ports.registry.Referrers.check."""
        if not any(each.digest == digest for each in self._releases()):
            raise _absent(digest)
        manifest = self._document(digest)
        found = [release.Digest(each["digest"]) for each in (manifest["config"], *manifest["layers"])]
        with futures.ThreadPoolExecutor() as readers:  # hashing releases Python's lock: a layer for each core
            for _ in readers.map(self._blobs.check, found):
                pass
        return (digest, *found)

    def lineage(self, digest: release.Digest) -> Sequence[release.Lineage]:
        """See ports.registry.Registry.lineage."""
        return tuple(record for subject, record in self._lineages() if subject == digest)

    def resolve(self, reference: str, *, service: str | None = None) -> release.Digest | None:
        """
        See ports.registry.Registry.resolve.

        Of several meanings a digest comes first, then a tag of this registry, a git tag, a branch and a commit; of
        several releases the one whose lineage was attached last. A digest prefix that fits two releases names none.
        """
        owned = self._owned(service)
        if match := _DIGEST_PREFIX.fullmatch(reference):
            fitting = [each for each in owned if each.value.startswith(f"sha256:{match[1]}")]
            if len(fitting) == 1:
                return fitting[0]
        among = set(owned)
        if (tagged := self.tags().get(reference)) in among:
            return tagged
        latest = [(subject, record) for subject, record in reversed(self._lineages()) if subject in among]
        for subject, record in latest:
            if reference in record.tags:
                return subject
        for subject, record in latest:
            if record.branch == reference:
                return subject
        if _COMMIT_PREFIX.fullmatch(reference):
            for subject, record in latest:
                if record.commit.startswith(reference):
                    return subject
        return None

    def tags(self) -> Mapping[str, release.Digest]:
        """Tags of this registry, as any tool of OCI layouts names them; no git tags."""
        return {
            name: each.digest
            for each in self._index.read()
            if each.artifact_type == layout.RELEASE_ARTIFACT
            and (name := dict(each.annotations).get(layout.NAME_ANNOTATION))
        }

    def tag(self, name: str, digest: release.Digest | None) -> None:
        """
        Lets a tag name the release from now on; with None the tag is taken away.

        Raises:
            ConfigError: there is no such release.
        """
        if digest is not None and not self.claim(digest):
            raise _absent(digest)

        def changed(present: tuple[layout.Descriptor, ...]) -> list[layout.Descriptor]:
            made: list[layout.Descriptor] = []
            for each in present:
                about = dict(each.annotations)
                if about.get(layout.NAME_ANNOTATION) == name and each.artifact_type == layout.RELEASE_ARTIFACT:
                    del about[layout.NAME_ANNOTATION]
                    if any(other.digest == each.digest and other is not each for other in present):
                        continue  # it has another entry
                made.append(dataclasses.replace(each, annotations=tuple(sorted(about.items()))))
            if digest is None:
                return made
            subject = next((each for each in made if each.digest == digest), None)
            if subject is None:
                raise _absent(digest)
            about = {**dict(subject.annotations), layout.NAME_ANNOTATION: name}
            tagged = dataclasses.replace(subject, annotations=tuple(sorted(about.items())))
            if layout.NAME_ANNOTATION not in dict(subject.annotations):
                return [tagged if each is subject else each for each in made]
            return [*made, tagged]

        self._index.change(changed)

    def listed(self) -> Iterator[dict[str, Any]]:
        """Every release, the oldest first, as JSON: what it is and where it came from."""
        lineages, named = dict(self._lineages()), self.tags()
        for each in self._releases():
            manifest, lineage = self._document(each.digest), lineages.get(each.digest)
            yield {
                "release": each.digest.value,
                "service": dict(each.annotations).get(layout.SERVICE_ANNOTATION, ""),
                "bytes": each.size + sum(blob["size"] for blob in (manifest["config"], *manifest["layers"])),
                "commit": lineage.commit if lineage is not None else "",
                "branch": (lineage.branch or "") if lineage is not None else "",
                "tags": list(lineage.tags) if lineage is not None else [],
                "registry_tags": sorted(name for name, digest in named.items() if digest == each.digest),
            }

    def newest(self, service: str) -> Sequence[release.Digest]:
        """See ports.registry.Registry.newest."""
        among = set(self._owned(service))
        return tuple(dict.fromkeys(subject for subject, _ in reversed(self._lineages()) if subject in among))

    def _owned(self, service: str | None) -> list[release.Digest]:
        return [
            each.digest
            for each in self._releases()
            if service is None or dict(each.annotations).get(layout.SERVICE_ANNOTATION) == service
        ]

    def _releases(self) -> list[layout.Descriptor]:
        found: dict[release.Digest, layout.Descriptor] = {}
        for each in self._index.read():
            if each.artifact_type == layout.RELEASE_ARTIFACT:
                found.setdefault(each.digest, each)  # one with two tags is listed twice
        return list(found.values())

    def _lineages(self) -> list[tuple[release.Digest, release.Lineage]]:
        found = []
        for each in self._index.read():
            if each.artifact_type != layout.LINEAGE_ARTIFACT:
                continue
            if each.digest not in self._records:
                manifest = self._document(each.digest)
                raw = self._blobs.get(release.Digest(manifest["layers"][0]["digest"]))
                subject = release.Digest(manifest["subject"]["digest"])
                self._records[each.digest] = subject, release_json.load_lineage(raw)
            found.append(self._records[each.digest])
        return found

    def _document(self, digest: release.Digest) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._blobs.get(digest))
        return found

    def _descriptor(
        self,
        media_type: str,
        raw: bytes,
        *,
        artifact_type: str | None = None,
        annotations: tuple[tuple[str, str], ...] = (),
    ) -> layout.Descriptor:
        digest = self._blobs.put(raw)
        return layout.Descriptor(
            media_type=media_type,
            digest=digest,
            size=len(raw),
            artifact_type=artifact_type,
            annotations=annotations,
        )


def _absent(digest: release.Digest) -> errors.ConfigError:
    return errors.ConfigError(
        f"The registry has no release {digest.short}.",
        remedy="Build it, or list what there is with `softlaunch history`.",
        code=errors.Code.NO_RELEASE,
    )


def _layer_digests(directory: pathlib.Path) -> Iterator[str]:
    """Digests of the layers that pushing the directory would make."""
    for _, names in _LAYERS:
        found = [entry for name in names for entry in layers.entries(directory, name)]
        if found:
            with pathlib.Path(os.devnull).open("wb") as nowhere:
                writer = blobs.BlobWriter(nowhere)
                layers.write(writer, directory, found)
            yield writer.digest.value


def put_aside(directory: pathlib.Path) -> pathlib.Path:
    """Takes the directory out of its place at once; returns where it is now, to be removed."""
    scratch = pathlib.Path(tempfile.mkdtemp(dir=directory.parent, prefix=".discarded-"))
    layers.unseal(directory)
    directory.rename(scratch / directory.name)
    return scratch


def _described(directory: pathlib.Path) -> release.ReleaseContent:
    try:
        raw = (directory / "release.json").read_bytes()
    except OSError as error:
        raise errors.ConfigError(
            f"{directory} is no release: release.json cannot be read ({error.strerror}).",
            remedy="Name a directory that a build or a pull made.",
            code=errors.Code.RELEASE_UNREADABLE,
        ) from error
    return release_json.load_content(raw)


def _rename(scratch: pathlib.Path, directory: pathlib.Path) -> None:
    try:
        scratch.rename(directory)
    except OSError:
        if not directory.is_dir():  # else somebody pulled the same release meanwhile
            raise
    blobs.sync_directory(directory.parent)
