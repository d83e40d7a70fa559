"""
Deterministic tar layers: sorted entries, no times, no owners, two modes.

Layers are not compressed: the bytes of a gzip stream depend on the zlib that wrote them, and two machines would give
one content two digests.
"""

from __future__ import annotations

import os
import pathlib
import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from softlaunch import errors
from softlaunch.adapters.oci import blobs

IGNORED = frozenset({"__pycache__"})
"""Directories that interpreters leave behind."""


def entries(directory: pathlib.Path, below: str) -> Iterator[str]:
    """Paths of the files below `directory/below` (a file or a directory), relative to `directory`, sorted."""
    start = directory / below
    if not start.is_dir() or start.is_symlink():
        if os.path.lexists(start):
            yield below
        return
    for name in sorted((each.name for each in start.iterdir()), key=os.fsencode):
        if name not in IGNORED:
            yield from entries(directory, f"{below}/{name}")


def write(sink: blobs.Sink, directory: pathlib.Path, names: Sequence[str]) -> None:
    """
    Writes the named files as one tar.

    Raises:
        ConfigError: one is neither a file nor a symbolic link that stays inside.
    """
    # tarfile asks its file object for write() only when the mode says stream.
    with tarfile.open(fileobj=cast("blobs.BlobWriter", sink), mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]  # typeshed wants a whole file
        for name in names:
            path = directory / name
            info = tarfile.TarInfo(name)
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode):
                info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, safe_target(name, str(path.readlink()))
                archive.addfile(info)
            elif stat.S_ISREG(found.st_mode):
                info.size, info.mode = found.st_size, 0o755 if found.st_mode & stat.S_IXUSR else 0o644
                with path.open("rb") as file:
                    archive.addfile(info, file)
            else:
                raise _unusable(name, "is neither a file nor a symbolic link")


def extract(layer: pathlib.Path, directory: pathlib.Path) -> None:
    """
    Unpacks a layer into `directory`, with modes that do not depend on the umask.

    Raises:
        ConfigError: an entry would leave the directory.
    """
    with tarfile.open(layer, mode="r:") as archive:
        for info in archive:
            parts = pathlib.PurePosixPath(info.name).parts
            if not parts or info.name.startswith("/") or ".." in parts:
                raise _unusable(info.name, "leaves its directory")
            path = directory / info.name
            make_directories(directory, path.parent)
            if info.issym():
                path.symlink_to(safe_target(info.name, info.linkname))
                continue
            content = archive.extractfile(info) if info.isreg() else None
            if content is None:
                raise _unusable(info.name, "is neither a file nor a symbolic link")
            with path.open("xb") as file:
                while chunk := content.read(1 << 20):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())  # the directory's later rename must not outlive its files in a power cut
                os.fchmod(file.fileno(), 0o755 if info.mode & stat.S_IXUSR else 0o644)


def seal(directory: pathlib.Path) -> None:
    """Makes everything in it read-only: 0444 and 0555."""
    for place, _, names in os.walk(directory):
        for name in names:
            _set_mode(pathlib.Path(place, name), lambda mode: 0o555 if mode & stat.S_IXUSR else 0o444)
        _set_mode(pathlib.Path(place), lambda _: 0o555)


def unseal(directory: pathlib.Path) -> None:
    """Makes its directories writable for their owner, so that they can be moved and removed."""
    for place, _, _ in os.walk(directory):
        _set_mode(pathlib.Path(place), lambda _: 0o755)


def _set_mode(path: pathlib.Path, wanted: Callable[[int], int]) -> None:
    mode = path.lstat().st_mode
    if not stat.S_ISLNK(mode) and stat.S_IMODE(mode) != wanted(mode):
        path.chmod(wanted(mode))


def make_directories(top: pathlib.Path, directory: pathlib.Path) -> None:
    """Creates `directory` and what is missing between it and `top`, mode 0755 under any umask."""
    if directory == top or directory.is_dir():
        return
    make_directories(top, directory.parent)
    directory.mkdir()
    directory.chmod(0o755)


def safe_target(name: str, target: str) -> str:
    """
    The link's target.

    Raises:
        ConfigError: it leads out of the release.
    """
    depth = 0
    for part in (*pathlib.PurePosixPath(name).parent.parts, *pathlib.PurePosixPath(target).parts):
        depth += -1 if part == ".." else 1
        if depth < 0 or part == "/":
            raise _unusable(name, f"is a symbolic link to {target!r}, outside of the service's folder")
    return target


def _unusable(name: str, what: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"{name!r} {what}.",
        remedy="Commit a plain file in its place.",
        code=errors.Code.CHECKOUT_UNUSABLE,
    )
