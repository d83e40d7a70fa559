"""A registry in memory; see ports.registry.Registry. It keeps releases by the digest of their files."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import shutil
import stat
from collections.abc import Mapping, Sequence

from softlaunch import errors
from softlaunch.core import release, release_json
from softlaunch.ports import registry

_IGNORED = "__pycache__"
_LINEAGE = "application/vnd.softlaunch.lineage.v1+json"


class MemoryRegistry:
    """See ports.registry.Registry and Referrers."""

    def __init__(self) -> None:
        self._releases: dict[release.Digest, dict[str, tuple[bytes, bool]]] = {}
        self._lineages: list[tuple[release.Digest, release.Lineage]] = []
        self._referrers: dict[release.Digest, dict[release.Digest, registry.Referrer]] = {}

    def push(self, directory: pathlib.Path) -> release.Digest:
        """See ports.registry.Registry.push."""
        found = _files_of(directory)
        if "release.json" not in found:
            raise errors.ConfigError(
                f"{directory} is no release: it has no release.json.",
                remedy="Name a directory that a build or a pull made.",
                code=errors.Code.RELEASE_UNREADABLE,
            )
        total = hashlib.sha256()
        for name, (raw, executable) in found.items():
            total.update(f"{name}\0{executable}\0{len(raw)}\0".encode() + raw)
        digest = release.Digest(f"sha256:{total.hexdigest()}")
        self._releases[digest] = found
        return digest

    def pull(self, digest: release.Digest, directory: pathlib.Path) -> release.ReleaseContent:
        """See ports.registry.Registry.pull."""
        found = self._files(digest)
        if directory.is_dir() and _files_of(directory) != found:
            _set_directory_modes(directory, 0o755)
            shutil.rmtree(directory)
        if not directory.is_dir():
            for name, (raw, executable) in found.items():
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(raw)
                path.chmod(0o555 if executable else 0o444)
        _set_directory_modes(directory, 0o555)
        return release_json.load_content(found["release.json"][0])

    def claim(self, digest: release.Digest) -> bool:
        """See ports.registry.Registry.claim."""
        return digest in self._releases

    def attach(self, digest: release.Digest, lineage: release.Lineage) -> None:
        """See ports.registry.Registry.attach."""
        self._files(digest)
        if (digest, lineage) not in self._lineages:
            self._lineages.append((digest, lineage))
        self.refer(
            digest,
            artifact_type=_LINEAGE,
            media_type=_LINEAGE,
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
        self._files(digest)
        told = repr((digest.value, artifact_type, media_type, sorted(annotations.items()))).encode()
        own = release.Digest(f"sha256:{hashlib.sha256(told + payload).hexdigest()}")
        self._referrers.setdefault(digest, {})[own] = registry.Referrer(
            digest=own, artifact_type=artifact_type, annotations=dict(annotations), payload=payload
        )
        return own

    def referrers(self, digest: release.Digest, artifact_type: str | None = None) -> Sequence[registry.Referrer]:
        """See ports.registry.Referrers.referrers."""
        found = self._referrers.get(digest, {}).values()
        return tuple(each for each in found if artifact_type in {None, each.artifact_type})

    def check(self, digest: release.Digest) -> Sequence[release.Digest]:
        """See ports.registry.Referrers.check."""
        self._files(digest)
        return (digest,)

    def lineage(self, digest: release.Digest) -> Sequence[release.Lineage]:
        """See ports.registry.Registry.lineage."""
        return tuple(record for subject, record in self._lineages if subject == digest)

    def resolve(self, reference: str, *, service: str | None = None) -> release.Digest | None:
        """See ports.registry.Registry.resolve."""
        owned = [digest for digest in self._releases if service in {None, self._service(digest)}]
        if match := re.fullmatch(r"(?:sha256:)?([0-9a-f]{6,64})", reference):
            fitting = [digest for digest in owned if digest.value.startswith(f"sha256:{match[1]}")]
            if len(fitting) == 1:
                return fitting[0]
        latest = [(subject, record) for subject, record in reversed(self._lineages) if subject in owned]
        is_commit = re.fullmatch(r"[0-9a-f]{7,64}", reference) is not None
        meanings = (
            [subject for subject, record in latest if reference in record.tags],
            [subject for subject, record in latest if record.branch == reference],
            [subject for subject, record in latest if is_commit and record.commit.startswith(reference)],
        )
        return next((found[0] for found in meanings if found), None)

    def newest(self, service: str) -> Sequence[release.Digest]:
        """See ports.registry.Registry.newest."""
        owned = (subject for subject, _ in reversed(self._lineages) if self._service(subject) == service)
        return tuple(dict.fromkeys(owned))

    def _files(self, digest: release.Digest) -> dict[str, tuple[bytes, bool]]:
        if digest not in self._releases:
            raise errors.ConfigError(
                f"The registry has no release {digest.short}.", remedy="Build it.", code=errors.Code.NO_RELEASE
            )
        return self._releases[digest]

    def _service(self, digest: release.Digest) -> str:
        return release_json.load_content(self._releases[digest]["release.json"][0]).service


def _set_directory_modes(directory: pathlib.Path, mode: int) -> None:
    for place, _, _ in os.walk(directory):
        pathlib.Path(place).chmod(mode)


def _files_of(directory: pathlib.Path) -> dict[str, tuple[bytes, bool]]:
    """Content and executable bit of each file, by its path."""
    return {
        path.relative_to(directory).as_posix(): (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
        for path in sorted(directory.rglob("*"))
        if path.is_file() and _IGNORED not in path.parts
    }
