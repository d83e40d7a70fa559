"""A source repository in memory; see ports.source.Source."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Mapping

from softlaunch import errors
from softlaunch.ports import source


class MemorySource:
    """See ports.source.Source. Commits are added by `commit`."""

    def __init__(self) -> None:
        self._files: dict[str, Mapping[str, bytes]] = {}
        self._commits: dict[str, source.Commit] = {}
        self._refs: dict[str, str] = {}

    def commit(self, files: Mapping[str, bytes], *, branch: str, tags: tuple[str, ...] = ()) -> source.Commit:
        """Adds a commit with exactly these files to a branch."""
        material = f"{len(self._commits)} {branch} {sorted(files)}".encode() + b"\0".join(
            files[name] for name in sorted(files)
        )
        commit_id = hashlib.sha1(material, usedforsecurity=False).hexdigest()
        found = source.Commit(
            id=commit_id,
            author="Ada <ada@example.com>",
            committed_at="2013-04-01T00:00:00Z",
            branch=branch,
            tags=tuple(sorted(tags)),
        )
        self._files[commit_id], self._commits[commit_id] = dict(files), found
        self._refs |= dict.fromkeys((branch, "HEAD", *tags), commit_id)
        return found

    def resolve(self, ref: str) -> source.Commit:
        """See ports.source.Source.resolve."""
        by_prefix = [each for each in self._commits if len(ref) >= 7 and each.startswith(ref)]
        commit_id = self._refs.get(ref) or (by_prefix[0] if len(by_prefix) == 1 else None)
        if commit_id is None:
            raise errors.ConfigError(
                f"There is no branch, tag or commit {ref!r} here.",
                remedy="Check the spelling.",
                code=errors.Code.UNKNOWN_REF,
            )
        return self._commits[commit_id]

    def checkout(self, commit: source.Commit, directory: pathlib.Path) -> None:
        """See ports.source.Source.checkout."""
        for name, raw in self._files[commit.id].items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
            path.chmod(0o644)

    def read(self, commit: source.Commit, path: str) -> bytes | None:
        """See ports.source.Source.read."""
        return self._files[commit.id].get(path)
