"""Files fetched from elsewhere."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fetched:
    sha256: str
    """64 hex digits, of the bytes that were written."""
    version: str = ""
    """What the server calls them: an ETag or a version; empty where it says nothing."""


class Downloads(Protocol):
    def fetch(self, url: str, path: pathlib.Path, *, version: str = "") -> Fetched:
        """
        Writes what the URL answers to `path`.

        A download that broke off goes on where it ended when it is asked for again with the same path, if what the
        server has is still the same; what it needs to know for that stands in PATH.part.

        Args:
            url: What to fetch.
            path: Where to; one caller at a time.
            version: Of an earlier `Fetched`: that version, where the server keeps versions; else the present one.

        Raises:
            UnavailableError: it cannot be fetched.
        """
        ...

    def version(self, url: str) -> str:
        """
        The version `fetch` would tell now, without fetching; empty where the server says nothing.

        Raises:
            UnavailableError: it cannot be asked.
        """
        ...
