"""
Deterministic tar: sorted entries, no times, one owner, modes that depend on no umask.

Compiled Python of a base carries the time its source had. Times are gone here, and an interpreter that saw another time
would compile everything anew at every start: such files are rewritten to be taken as they are (PEP 552, unchecked).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import os
import pathlib
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, cast

from softlaunch import errors

_PYC_HEADER = 16
_UNCHECKED = (1).to_bytes(4, "little")
_WHITEOUT = ".wh."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    name: str
    """In the image, without a leading slash."""
    mode: int
    source: pathlib.Path | bytes | None = None
    """A file or its content; None for directories and links."""
    link: str | None = None

    @property
    def is_directory(self) -> bool:
        return self.source is None and self.link is None


def tree(
    top: pathlib.Path, below: str, *, is_root: bool = False, skip: Callable[[str], bool] | None = None
) -> list[Entry]:
    """
    Everything in the directory `top`, as it shall lie below `below` in the image.

    Args:
        top: A directory; symbolic links in it stay links.
        below: Path in the image; empty for its root.
        is_root: Keeps all mode bits and links that lead anywhere, as a root file system needs; else 0644 and 0755.
        skip: Says of a path relative to `top` that it stays out.

    Raises:
        ConfigError: a link leads out of the directory, or a name has a meaning of its own in layers.
    """
    return list(_walk(top, "", below, is_root, skip))


def _walk(
    top: pathlib.Path,
    inside: str,
    below: str,
    is_root: bool,  # noqa: FBT001 - of `tree`
    skip: Callable[[str], bool] | None,
) -> Iterator[Entry]:
    with os.scandir(top / inside) as found:
        names = sorted((each.name for each in found), key=os.fsencode)
    for each in names:
        relative = f"{inside}/{each}" if inside else each
        if skip is not None and skip(relative):
            continue
        path, name = top / relative, f"{below}/{relative}" if below else relative
        if each.startswith(_WHITEOUT):
            raise unusable(name, "would delete files of the layers below it")
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            target = str(path.readlink())
            if not is_root and not _stays(relative, target):
                raise unusable(name, f"is a symbolic link to {target!r}, outside of {top.name}")
            yield Entry(name=name, mode=0o777, link=target)
        elif stat.S_ISDIR(status.st_mode):
            yield Entry(name=name, mode=mode if is_root else 0o755)
            yield from _walk(top, relative, below, is_root, skip)
        elif stat.S_ISREG(status.st_mode):
            plain = 0o755 if mode & stat.S_IXUSR else 0o644
            yield Entry(name=name, mode=mode if is_root else plain, source=_content(path))
        elif not is_root:  # devices, pipes and sockets of a root are made by whoever runs it
            raise unusable(name, "is neither a file nor a symbolic link")


def parents(entries: Iterable[Entry]) -> list[Entry]:
    """The entries with the directories above them, each once, sorted by name."""
    found = {entry.name: entry for entry in entries}
    for name in list(found):
        for above in pathlib.PurePosixPath(name).parents:
            if above.name and str(above) not in found:
                found[str(above)] = Entry(name=str(above), mode=0o755)
    return [found[name] for name in sorted(found, key=lambda name: [os.fsencode(part) for part in name.split("/")])]


def write(sink: Any, entries: Iterable[Entry]) -> None:
    """
    Appends the entries, in the given order, to a sink.

    Raises:
        ConfigError: a file is shorter than it was when it was opened: somebody writes to it.
    """
    with tarfile.open(
        fileobj=cast("IO[bytes]", sink), mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20
    ) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.mode = entry.mode
            if entry.link is not None:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
                archive.addfile(info)
            elif entry.source is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            elif isinstance(entry.source, bytes):
                info.size = len(entry.source)
                archive.addfile(info, io.BytesIO(entry.source))
            else:
                with entry.source.open("rb") as file:
                    info.size = os.fstat(file.fileno()).st_size
                    try:
                        archive.addfile(info, file)
                    except OSError as error:
                        raise unusable(entry.name, f"cannot be read as a whole ({error})") from error


def _content(path: pathlib.Path) -> pathlib.Path | bytes:
    """The file, or its bytes when it is compiled Python that depends on a time."""
    if path.suffix != ".pyc" or path.parent.name != "__pycache__":
        return path
    raw = path.read_bytes()
    if len(raw) < _PYC_HEADER or raw[4:8] != bytes(4):
        return path  # no such file, or one that depends on no time already
    source = path.parent.parent / f"{path.name.partition('.')[0]}.py"
    try:
        mark = importlib.util.source_hash(source.read_bytes())
    except OSError:
        return path
    return raw[:4] + _UNCHECKED + mark + raw[_PYC_HEADER:]


def _stays(name: str, target: str) -> bool:
    depth = 0
    for part in (*pathlib.PurePosixPath(name).parent.parts, *pathlib.PurePosixPath(target).parts):
        depth += -1 if part == ".." else 1
        if depth < 0 or part == "/":
            return False
    return True


def unusable(name: str, what: str) -> errors.ConfigError:
    """A file that cannot be put into an image."""
    return errors.ConfigError(
        f"{name!r} {what}.",
        remedy="Put a plain file in its place.",
        code=errors.Code.IMAGE_FILE,
    )
