"""The shelf: releases of the registry, unpacked on this machine."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from softlaunch.core import release
from softlaunch.ports import registry


class Shelf:
    """
    Unpacks each release once, into DIRECTORY/DIGESTHEX.

    Pulling checks every digest and appears by rename, so what stands on the shelf is whole. What was unpacked by an
    earlier process is checked against its digest before this one runs its code.
    """

    def __init__(self, registry: registry.Registry, directory: pathlib.Path) -> None:
        self._registry = registry
        self._directory = directory
        self._checked: dict[release.Digest, release.ReleaseContent] = {}

    def take(self, digest: release.Digest) -> tuple[pathlib.Path, release.ReleaseContent]:
        """
        The unpacked release.

        Raises:
            ConfigError: the registry has no such release.
            UnavailableError: stored bytes do not match their digest, or the disk is full.
        """
        digest = digest.release
        directory = self._directory / digest.value.removeprefix("sha256:")
        if digest not in self._checked or not directory.is_dir():
            self._checked[digest] = self._registry.pull(digest, directory)
        return directory, self._checked[digest]

    def smoke_rows(self, digest: release.Digest) -> list[dict[str, Any]]:
        """Rows made from the release's reference; empty when it has none."""
        directory, content = self.take(digest)
        if content.smoke_file is None:
            return []
        rows: list[dict[str, Any]] = json.loads((directory / content.smoke_file).read_bytes())
        return rows
