"""
Which repository of a registry is known to have a blob: what goes from one repository into another need not be sent.

FOLDER/blobs.json is a memory and no truth: the registry is asked, and a blob that is not there is sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterable

from softlaunch.core import release

_COUNT_MAX = 10_000
"""The oldest are forgotten; a guess."""


class Whereabouts:
    """
    Args:
        folder: Made with the first note.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._path = folder / "blobs.json"

    def repository_of(self, digest: release.Digest, host: str) -> str | None:
        """The repository that had it last."""
        return self._read().get(f"{host} {digest}")

    def note(self, digests: Iterable[release.Digest], host: str, name: str) -> None:
        """They are there now."""
        known = self._read()
        for digest in digests:
            known.pop(f"{host} {digest}", None)
            known[f"{host} {digest}"] = name
        unfinished = self._path.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):  # the disk is full: blobs are sent then
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(dict(list(known.items())[-_COUNT_MAX:]), indent=0))
            unfinished.rename(self._path)

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_bytes())
            return {str(blob): str(name) for blob, name in found.items()}
        except (OSError, ValueError, AttributeError):  # none yet, or of no use
            return {}
