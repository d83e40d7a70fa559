"""The repository's own files: those git tracks, or would once they are added."""

from __future__ import annotations

import functools
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).parents[3]


@functools.cache
def files() -> tuple[pathlib.Path, ...]:
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return tuple(path for name in names if name and (path := ROOT / name).is_file())


@functools.cache
def texts() -> tuple[tuple[pathlib.Path, str], ...]:
    """Path below ROOT and content of every tracked file that is text."""
    contents = ((path.relative_to(ROOT), path.read_bytes()) for path in files())
    return tuple((path, content.decode(errors="replace")) for path, content in contents if b"\0" not in content)


def pages() -> tuple[tuple[pathlib.Path, str], ...]:
    """Every Markdown page."""
    return tuple((path, text) for path, text in texts() if path.suffix == ".md")
