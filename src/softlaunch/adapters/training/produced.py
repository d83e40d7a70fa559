"""Which files a program created or changed, by looking at the directory before and after."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Collection, Mapping

from softlaunch.core import training_record

SEEN_MAX = 200_000
"""Files of a directory that are looked at; a guess: two seconds on a laptop."""
KEPT_MAX = 1000
"""Files of a run whose digests are kept; a guess."""
_SKIPPED = frozenset(
    {".git", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".ipynb_checkpoints"}
)
Stamps = Mapping[str, tuple[int, int, int]]


def look(root: pathlib.Path, without: Collection[pathlib.Path] = ()) -> tuple[Stamps, bool]:
    """Times and sizes of files below a directory, and whether those are all. Links, .git and venvs are left out."""
    found: dict[str, tuple[int, int, int]] = {}
    for folder, names, files in os.walk(root):
        here = pathlib.Path(folder)
        names[:] = sorted(
            name
            for name in names
            if name not in _SKIPPED and here / name not in without and not (here / name / "pyvenv.cfg").exists()
        )
        for name in sorted(files):
            path = here / name
            try:
                stat = path.lstat()
            except OSError:
                continue  # it went away meanwhile
            if not path.is_symlink() and path.is_file():
                found[str(path.relative_to(root))] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if len(found) >= SEEN_MAX:
                return found, False
    return found, True


def changed(
    root: pathlib.Path, before: Stamps, after: Stamps
) -> tuple[tuple[training_record.ProducedFile, ...], tuple[str, ...]]:
    """The files that are new or other than before, with digests, and notes on what is missing here."""
    names = [name for name, stamp in after.items() if before.get(name) != stamp]
    found, notes = [], []
    for name in sorted(names)[:KEPT_MAX]:
        try:
            with (root / name).open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            found.append(training_record.ProducedFile(path=name, sha256=sha256, bytes=(root / name).stat().st_size))
        except OSError as error:
            notes.append(f"{name} cannot be read: {error.strerror or error}")
    if len(names) > KEPT_MAX:
        notes.append(f"{len(names)} files were produced; the first {KEPT_MAX} by name are listed")
    return tuple(found), tuple(notes)
