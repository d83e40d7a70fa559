"""Files fetched from elsewhere."""

from __future__ import annotations

import pathlib
from typing import Protocol


class Downloads(Protocol):
    def fetch(self, url: str, path: pathlib.Path) -> str:
        """
        Writes what the URL answers to `path` and returns its sha256, 64 hex digits.

        Raises:
            UnavailableError: it cannot be fetched.
        """
        ...
