"""
Files that DVC keeps; see ports.materials.Materials.

NAME.dvc, or an output of dvc.lock, names a file by md5, and a directory by the md5 of a list (.dir). The bytes come
from DVC's cache in the clone, or from its default remote: a directory, s3://, gs://, azure:// or http(s)://. Other
kinds of remotes are left to the dvc program. md5 finds the bytes; what they are is pinned by sha256 in softlaunch.lock.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import json
import os
import pathlib
import posixpath
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import ruamel.yaml
import ruamel.yaml.error

from softlaunch import errors
from softlaunch.core import pins
from softlaunch.ports import download, materials

_MD5 = re.compile(r"([0-9a-f]{32})(\.dir)?")
_SCHEMES = {"azure": "az"}
_TIMEOUT_SECONDS = 3_600.0


class Dvc:
    """
    See ports.materials.Materials.

    Args:
        directory: The service's folder in its clone.
        downloads: Fetches from remotes.
    """

    def __init__(self, directory: pathlib.Path, downloads: download.Downloads) -> None:
        self._directory = directory
        self._downloads = downloads

    def find(self, checkout: pathlib.Path, name: str) -> materials.Material | None:
        """See ports.materials.Materials.find."""
        found = _named(checkout, name)
        return materials.Material(uri=f"dvc:{name}", version=f"md5:{found}") if found is not None else None

    def fetch(self, checkout: pathlib.Path, name: str, path: pathlib.Path) -> None:
        """See ports.materials.Materials.fetch."""
        md5 = _named(checkout, name)
        assert md5 is not None
        root = self._root()
        remote = self._remote(root)
        if remote is not None and "://" in remote and not pins.is_url(remote):
            self._by_program(checkout, name)
            remote = None  # now it is in the cache
        path.parent.mkdir(parents=True, exist_ok=True)
        if not md5.endswith(".dir"):
            self._object(root, remote, md5, name, path)
            return
        with tempfile.TemporaryDirectory(prefix="softlaunch-dvc-") as scratch:
            listing = pathlib.Path(scratch) / "listing"
            self._object(root, remote, md5, name, listing)
            entries = _entries(listing.read_bytes(), name)
        path.mkdir()
        for below, each in entries.items():
            place = path / below
            place.parent.mkdir(parents=True, exist_ok=True)
            self._object(root, remote, each, f"{name}/{below}", place)

    def _object(self, root: pathlib.Path, remote: str | None, md5: str, name: str, path: pathlib.Path) -> None:
        """One file of the cache or the remote; both keep it under the first two digits of its md5."""
        below = [f"files/md5/{md5[:2]}/{md5[2:]}", f"{md5[:2]}/{md5[2:]}"]  # since version 3, and before
        directories = [root / ".dvc" / "cache"]
        if remote is not None and "://" not in remote:
            directories.append(pathlib.Path(remote))
        for place in (directory / each for directory in directories for each in below):
            if place.is_file():
                shutil.copyfile(place, path)
                break
        else:
            if remote is None or "://" not in remote:
                raise _unavailable(f"DVC's file {name!r} (md5 {md5[:12]}) is neither in its cache nor in its remote.")
            self._fetched([f"{remote.rstrip('/')}/{each}" for each in below], path)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != md5.removesuffix(".dir"):
            path.unlink()
            raise errors.ConfigError(
                f"What DVC's remote gave for {name!r} is not what the commit names: md5 {found}, not {md5}.",
                remedy="Push the right file again with `dvc push`.",
                code=errors.Code.MODEL_CHANGED,
            )

    def _fetched(self, urls: list[str], path: pathlib.Path) -> None:
        for number, url in enumerate(urls, start=1):
            try:
                self._downloads.fetch(url, path)
            except errors.UnavailableError:
                if number == len(urls):
                    raise
            else:
                return

    def _root(self) -> pathlib.Path:
        """The folder with .dvc, at or above the service's."""
        here = self._directory.resolve()
        for each in (here, *here.parents):
            if (each / ".dvc").is_dir():
                return each
        raise errors.ConfigError(
            f"There is no .dvc directory at or above {here.name}, and a file of the commit is kept by DVC.",
            remedy="Commit .dvc/config, which says where the remote is.",
            code=errors.Code.MODEL_MISSING,
        )

    def _remote(self, root: pathlib.Path) -> str | None:
        """URL or directory of the default remote."""
        read = configparser.ConfigParser(interpolation=None)
        for name in ("config", "config.local"):
            with contextlib.suppress(FileNotFoundError):
                try:
                    read.read_string((root / ".dvc" / name).read_text())
                except configparser.Error as error:
                    raise errors.ConfigError(
                        f".dvc/{name} cannot be read: {type(error).__name__}.",
                        remedy="Look at it with `dvc remote list`.",
                        code=errors.Code.MODEL_MISSING,
                    ) from error
        name = read.get("core", "remote", fallback="").strip()
        if not name:
            return None
        url = next((read.get(found, "url", fallback="") for found in _sections(read, name)), "")
        if not url:
            return None
        scheme, mark, rest = url.partition("://")
        if not mark:
            return os.path.normpath(root / ".dvc" / url)
        if scheme == "azure":
            account = next((read.get(found, "account_name", fallback="") for found in _sections(read, name)), "")
            account = account or os.environ.get(
                "AZURE_STORAGE_ACCOUNT_NAME", os.environ.get("AZURE_STORAGE_ACCOUNT", "")
            )
            return f"az://{account}/{rest}"
        return f"{_SCHEMES.get(scheme, scheme)}://{rest}"

    def _by_program(self, checkout: pathlib.Path, name: str) -> None:
        """Lets dvc fetch into the clone's cache."""
        program = shutil.which("dvc")
        if program is None:
            raise _unavailable(f"{name!r} is kept by DVC in a remote that only the dvc program can read.")
        target = f"{name}.dvc" if (checkout / f"{name}.dvc").is_file() else name
        ended = subprocess.run(
            [program, "fetch", "--", target],
            cwd=self._directory,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
        if ended.returncode:
            raise _unavailable(f"`dvc fetch {target}` ended with {ended.returncode}.")


def _sections(read: configparser.ConfigParser, name: str) -> Iterator[str]:
    """Sections of the remote: DVC writes ['remote "NAME"'], and reads it without the outer quotes too."""
    for section in read.sections():
        if section.strip("'") == f'remote "{name}"':
            yield section


def _named(checkout: pathlib.Path, name: str) -> str | None:
    """The md5 the commit names for that path, with .dir for a directory; None when DVC does not keep it."""
    beside = checkout / f"{name}.dvc"
    if beside.is_file():
        outs = _yaml(beside).get("outs")
        return _md5(outs, posixpath.basename(name), beside.name, wanted=True)
    lock = checkout / "dvc.lock"
    if not lock.is_file():
        return None
    stages = _yaml(lock).get("stages")
    for stage in stages.values() if isinstance(stages, dict) else ():
        found = _md5(stage.get("outs") if isinstance(stage, dict) else None, name, lock.name, wanted=False)
        if found is not None:
            return found
    return None


def _md5(outs: Any, path: str, file: str, *, wanted: bool) -> str | None:
    for out in outs if isinstance(outs, list) else ():
        if isinstance(out, dict) and out.get("path") == path and out.get("cache", True) is not False:
            md5 = str(out.get("md5", ""))
            if _MD5.fullmatch(md5):
                return md5
            raise _broken(file, f"no md5 of {path!r} stands in it")
    if wanted:
        raise _broken(file, f"it has no output {path!r}")
    return None


def _yaml(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = ruamel.yaml.YAML(typ="safe", pure=True).load(path.read_text())
    except (ruamel.yaml.error.YAMLError, UnicodeDecodeError) as error:
        raise _broken(path.name, "it is no YAML") from error
    if not isinstance(found, dict):
        raise _broken(path.name, "it is no mapping")
    return found


def _entries(raw: bytes, name: str) -> dict[str, str]:
    """md5 by path below the directory."""
    try:
        found = {str(each["relpath"]): str(each["md5"]) for each in json.loads(raw)}
    except (ValueError, LookupError, TypeError) as error:
        raise _broken(name, "DVC's list of the directory cannot be read") from error
    for below, md5 in found.items():
        if not _MD5.fullmatch(md5) or below.startswith("/") or ".." in below.split("/"):
            raise _broken(name, f"DVC's list of the directory names {below!r:.80}")
    return found


def _broken(file: str, why: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"{file} cannot be used: {why}.",
        remedy="Write it again with `dvc add` (or `dvc repro`) and commit it.",
        code=errors.Code.MODEL_UNREADABLE,
    )


def _unavailable(message: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        message,
        remedy="Run `dvc push` where the file was made; check the remote in .dvc/config; or install the dvc program.",
        code=errors.Code.DOWNLOAD_FAILED,
    )
