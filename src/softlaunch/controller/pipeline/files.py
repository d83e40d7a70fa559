"""Files of a checkout: which there are, what they digest to, and which are code."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import stat
from collections.abc import Iterable, Iterator

from softlaunch import errors
from softlaunch.core import lockfile, pins, spec, tree_digest

SERVICE_FILE = "softlaunch.yaml"
LOCK_FILES = ("requirements.lock", "requirements.txt")
"""The first that exists is the service's lock file."""
LOCK_FILES_UNSUPPORTED = ("pylock.toml", "uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock")
_LFS = b"version https://git-lfs.github.com/spec/"


def walk(directory: pathlib.Path) -> Iterator[str]:
    """Paths of all files, relative, in one order on every machine."""
    found = []
    for place, _, names in os.walk(directory):
        found += [os.path.relpath(os.path.join(place, name), directory) for name in names]  # noqa: PTH118  # bytes-safe and fast
        found += [
            os.path.relpath(os.path.join(place, name), directory)  # noqa: PTH118
            for name in os.listdir(place)  # noqa: PTH208
            if os.path.islink(os.path.join(place, name)) and os.path.isdir(os.path.join(place, name))  # noqa: PTH112, PTH114, PTH118
        ]
    yield from sorted(found, key=os.fsencode)


def digest(directory: pathlib.Path, *, without: Iterable[str] = ()) -> str:
    """sha256, in hex, of names, modes and bytes of the files below `directory`."""
    left_out = set(without)

    def entries() -> Iterator[tuple[str, str, str]]:
        for name in walk(directory):
            if name in left_out:
                continue
            path = directory / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield name, "link", hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
            else:
                yield name, "program" if mode & stat.S_IXUSR else tree_digest.FILE, sha256(path)

    return tree_digest.digest(entries())


def sha256(path: pathlib.Path) -> str:
    """Of one file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_digest(path: pathlib.Path) -> str:
    """
    What a training run's record knows a model by, in hex.

    Of a file its sha256; of a folder `digest`, as if none of its files were a program: records keep no modes.
    """
    if not path.is_dir():
        return sha256(path)
    plain = [name for name in walk(path) if not (path / name).is_symlink()]
    return tree_digest.of_files({name: sha256(path / name) for name in plain})


def lock_name(checkout: pathlib.Path) -> str | None:
    """
    The service's lock file, None when it has none.

    Raises:
        ConfigError: its only lock is of a kind that is not supported.
    """
    for name in LOCK_FILES:
        if (checkout / name).is_file():
            return name
    for name in LOCK_FILES_UNSUPPORTED:
        if (checkout / name).is_file():
            raise errors.ConfigError(
                f"{name} is not supported yet as a lock file.",
                remedy="Export it: `uv export --format requirements-txt -o requirements.lock`, and commit that.",
                code=errors.Code.LOCK_UNSUPPORTED,
            )
    return None


def not_code(service: spec.ServiceSpec) -> frozenset[str]:
    """Files of the checkout that are no part of a release's code/: each has a place of its own, or none."""
    data = (
        service.reference,
        service.tests.quality.data if service.tests is not None and service.tests.quality is not None else None,
    )
    kept = [name for name in (service.model.path, *data) if name is not None and not pins.is_url(name)]
    named = {
        SERVICE_FILE,
        lockfile.NAME,
        *LOCK_FILES,
        *kept,
        *(f"{name}.dvc" for name in kept),
    }
    return frozenset(os.path.normpath(name) for name in named)


def is_code(name: str, named: frozenset[str]) -> bool:
    """The file belongs into code/: it is not one of `named`, not below one, and no part of git's own bookkeeping."""
    path = pathlib.PurePosixPath(name)
    if any(part.startswith(".git") for part in path.parts):
        return False
    return name not in named and not any(str(folder) in named for folder in path.parents)


def copy(checkout: pathlib.Path, directory: pathlib.Path, names: Iterable[str]) -> None:
    """Copies files with modes that do not depend on the umask; links stay links."""
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        origin = checkout / name
        if origin.is_symlink():
            path.symlink_to(origin.readlink())
            continue
        shutil.copyfile(origin, path)
        path.chmod(0o755 if origin.stat().st_mode & stat.S_IXUSR else 0o644)


def copy_model(origin: pathlib.Path, path: pathlib.Path) -> None:
    """Copies a model, file or directory, with modes that do not depend on the umask; `path` must not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if origin.is_dir():
        path.mkdir()
        copy(origin, path, [name for name in walk(origin) if "__pycache__" not in pathlib.PurePosixPath(name).parts])
        return
    shutil.copyfile(origin, path)
    path.chmod(0o644)


def remove_model(path: pathlib.Path) -> None:
    """Removes a model, file or directory, where there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def inside(checkout: pathlib.Path, name: str) -> pathlib.Path:
    """
    The file of that name, links followed.

    Raises:
        ConfigError: it leads out of the checkout.
    """
    path = (checkout / name).resolve()
    if not path.is_relative_to(checkout.resolve()):
        raise errors.ConfigError(
            f"{name!r} leads out of the service's folder.",
            remedy="Commit a plain file in its place, and name it in softlaunch.yaml.",
            code=errors.Code.CHECKOUT_UNUSABLE,
        )
    return path


def is_lfs_pointer(path: pathlib.Path) -> bool:
    """The file only says where Git LFS keeps the real one."""
    with path.open("rb") as file:
        return file.read(len(_LFS)) == _LFS
