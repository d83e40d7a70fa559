"""
One digest for a folder of plain files: what softlaunch.lock pins folders by.

The sha256 of a line for each file, in the order of the names' bytes: name (with slashes), kind and sha256 with NULs
between.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping

FILE = "file"


def digest(entries: Iterable[tuple[str, str, str]]) -> str:
    """
    The digest, in hex.

    Args:
        entries: Name, kind and sha256 in hex of each file, in order; the kind is `file` but for programs and links.
    """
    total = hashlib.sha256()
    for name, kind, content in entries:
        total.update(os.fsencode(name) + f"\0{kind}\0{content}\n".encode())
    return total.hexdigest()


def of_files(files: Mapping[str, str]) -> str:
    """The digest of a folder that has plain files alone: sha256 in hex by name."""
    return digest((name, FILE, files[name]) for name in sorted(files, key=os.fsencode))


def folders(files: Mapping[str, str]) -> dict[str, str]:
    """Every folder that the names go through, and its digest; not the one all of them are in."""
    below: dict[str, dict[str, str]] = {}
    for name, content in files.items():
        parts = name.split("/")
        for depth in range(1, len(parts)):
            below.setdefault("/".join(parts[:depth]), {})["/".join(parts[depth:])] = content
    return {folder: of_files(found) for folder, found in below.items()}
