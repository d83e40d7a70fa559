"""
Files that Git LFS keeps; see ports.materials.Materials.

A pointer names its file by sha256, so that whatever gives those bytes will do, asked in this order: the clone's own LFS
store, the store of a remote on this machine, the git-lfs program where it is installed (it knows every kind of server
and its credentials), and the batch API of the server otherwise.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Mapping
from typing import Any

import httpx

from softlaunch import errors
from softlaunch.adapters.data_sources import http_files
from softlaunch.ports import materials

_MARK = b"version https://git-lfs.github.com/spec/"
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
_POINTER_BYTES_MAX = 1024
"""As the specification says."""
_TIMEOUT_SECONDS = 3_600.0
_MEDIA = "application/vnd.git-lfs+json"


class GitLfs:
    """
    See ports.materials.Materials.

    Args:
        directory: The service's folder in its clone, whose remote keeps the files.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory

    def find(self, checkout: pathlib.Path, name: str) -> materials.Material | None:
        """See ports.materials.Materials.find; a directory is one with at least one pointer below."""
        pointers = self._found(checkout, name)
        if not pointers:
            return None
        if pointers == {"": pointers.get("")}:
            return materials.Material(uri=f"lfs:{name}", version=f"sha256:{_oid(pointers[''], name)[0]}")
        listed = "\n".join(f"{path} {_oid(raw, f'{name}/{path}')[0]}" for path, raw in sorted(pointers.items()))
        return materials.Material(uri=f"lfs:{name}", version=f"sha256:{hashlib.sha256(listed.encode()).hexdigest()}")

    def fetch(self, checkout: pathlib.Path, name: str, path: pathlib.Path) -> None:
        """See ports.materials.Materials.fetch; of a directory, what is no pointer is copied."""
        pointers = self._found(checkout, name)
        if (checkout / name).is_dir():
            shutil.copytree(checkout / name, path, symlinks=True)
        for below, raw in pointers.items():
            place = path / below if below else path
            oid, size = _oid(raw, f"{name}/{below}" if below else name)
            unfinished = place.with_name(f".{place.name}.lfs")
            unfinished.unlink(missing_ok=True)
            origin = checkout / name / below if below else checkout / name
            if _head(origin).startswith(_MARK):
                self._one(raw, oid, size, unfinished)
            else:
                shutil.copyfile(origin, unfinished)
            with unfinished.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != oid:
                unfinished.unlink()
                raise errors.ConfigError(
                    f"What Git LFS gave for {name!r} is not what its pointer names: sha256 {found}, not {oid}.",
                    remedy="Look at it with `git lfs fsck`; push the right file again.",
                    code=errors.Code.MODEL_CHANGED,
                )
            unfinished.replace(place)

    def _found(self, checkout: pathlib.Path, name: str) -> dict[str, bytes]:
        """Pointers as a commit has them; in the clone itself also of files that git-lfs has written out."""
        pointers = _pointers(checkout / name)
        path = checkout / name
        if checkout.resolve() != self._directory.resolve() or not path.exists():
            return pointers
        files = [each for each in sorted(path.rglob("*")) if each.is_file()] if path.is_dir() else [path]
        for each in files:
            below = str(each.relative_to(path)) if each != path else ""
            if below in pointers or not self._filtered(each):
                continue
            with each.open("rb") as file:
                oid = hashlib.file_digest(file, "sha256").hexdigest()
            pointers[below] = f"{_MARK.decode()}v1\noid sha256:{oid}\nsize {each.stat().st_size}\n".encode()
        return pointers

    def _filtered(self, path: pathlib.Path) -> bool:
        relative = str(path.relative_to(self._directory)) if path.is_relative_to(self._directory) else str(path)
        return self._git("check-attr", "-z", "filter", "--", relative).endswith("filter\0lfs\0")

    def _one(self, pointer: bytes, oid: str, size: int, path: pathlib.Path) -> None:
        for kept in self._kept(oid):
            shutil.copyfile(kept, path)
            return
        if shutil.which("git-lfs"):
            said = self._smudged(pointer, path)
            # A clone without `git lfs install` gives the pointer back and says nothing.
            if said is None and not _head(path).startswith(_MARK):
                return
        else:
            said = None
        self._batch(oid, size, path, said)

    def _kept(self, oid: str) -> list[pathlib.Path]:
        """Where it may lie on this machine: the clone's own store, or that of a remote that is a directory."""
        places = [self._git("rev-parse", "--path-format=absolute", "--git-common-dir")]
        remote = self._git("config", "--get", "remote.origin.url").removeprefix("file://")
        if remote.startswith("/"):
            places += [remote, f"{remote}/.git"]
        stores = [pathlib.Path(place) / "lfs" / "objects" / oid[:2] / oid[2:4] / oid for place in places if place]
        return [found for found in stores if found.is_file()]

    def _smudged(self, pointer: bytes, path: pathlib.Path) -> str | None:
        """Lets git-lfs write the file; what it said when it could not."""
        with path.open("wb") as file:
            ended = subprocess.run(
                ["git", "lfs", "smudge"],
                cwd=self._directory,
                input=pointer,
                stdout=file,
                stderr=subprocess.PIPE,
                env={**_environment(), "GIT_LFS_SKIP_SMUDGE": "0"},
                check=False,
                timeout=_TIMEOUT_SECONDS,
            )
        if ended.returncode == 0:
            return None
        return " ".join(ended.stderr.decode(errors="replace").split())[:300]

    def _batch(self, oid: str, size: int, path: pathlib.Path, said: str | None) -> None:
        endpoint = self._endpoint()
        if endpoint is None:
            why = f" git-lfs says: {http_files.shown(said)}" if said else ""
            raise _unavailable(f"The Git LFS object {oid[:12]} is not in this clone, and no remote has it.{why}")
        asked = {"operation": "download", "transfers": ["basic"], "objects": [{"oid": oid, "size": size}]}
        headers = {"accept": _MEDIA, "content-type": _MEDIA}
        address = f"{endpoint}/objects/batch"
        try:
            answer = httpx.post(address, json=asked, headers=headers, timeout=60.0)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                answer = httpx.post(
                    address, json=asked, headers=headers, timeout=60.0, auth=self._credentials(endpoint)
                )
            if answer.status_code != httpx.codes.OK:
                raise _unavailable(f"The Git LFS server of {http_files.shown(endpoint)} answered {answer.status_code}.")
            found: Any = answer.json()["objects"][0]
            action: Mapping[str, Any] | None = found.get("actions", {}).get("download")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
            raise _unavailable(
                f"The Git LFS server of {http_files.shown(endpoint)} cannot be asked: {type(error).__name__}."
            ) from error
        if action is None:
            raise _unavailable(f"The Git LFS server of {http_files.shown(endpoint)} has no object {oid[:12]}.")
        http_files.HttpFiles(dict(action.get("header", {}))).fetch(urllib.parse.urljoin(address, action["href"]), path)

    def _endpoint(self) -> str | None:
        """Where the batch API is, as git-lfs finds it: lfs.url, .lfsconfig, or beside the remote."""
        top = self._git("rev-parse", "--show-toplevel")
        url = self._git("config", "--get", "lfs.url")
        if not url and top and (pathlib.Path(top) / ".lfsconfig").is_file():
            url = self._git("config", "--file", f"{top}/.lfsconfig", "--get", "lfs.url")
        if not url:
            remote = self._git("config", "--get", "remote.origin.url")
            if not remote.startswith(("http://", "https://")):
                return None
            url = f"{remote.rstrip('/')}{'' if remote.rstrip('/').endswith('.git') else '.git'}/info/lfs"
        return url.rstrip("/") if url.startswith(("http://", "https://")) else None

    def _credentials(self, endpoint: str) -> tuple[str, str]:
        """User and password as git's credential helpers know them."""
        parts = urllib.parse.urlsplit(endpoint)
        asked = f"protocol={parts.scheme}\nhost={parts.netloc.rpartition('@')[2]}\npath={parts.path.lstrip('/')}\n\n"
        ended = subprocess.run(
            ["git", "credential", "fill"],
            cwd=self._directory,
            input=asked.encode(),
            capture_output=True,
            env=_environment(),
            check=False,
            timeout=30.0,
        )
        found = dict(line.split("=", 1) for line in ended.stdout.decode(errors="replace").splitlines() if "=" in line)
        if "username" not in found or "password" not in found:
            raise _unavailable(
                f"The Git LFS server of {http_files.shown(endpoint)} asks for a password, and git has none."
            )
        return found["username"], found["password"]

    def _git(self, *arguments: str) -> str:
        ended = subprocess.run(
            ["git", *arguments],
            cwd=self._directory,
            capture_output=True,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=30.0,
        )
        return ended.stdout.decode(errors="replace").strip() if ended.returncode == 0 else ""


def _pointers(path: pathlib.Path) -> dict[str, bytes]:
    """Bytes of every pointer at or below the path; of the path itself under an empty name."""
    if path.is_file() and not path.is_symlink():
        raw = _head(path)
        return {"": raw} if raw.startswith(_MARK) else {}
    found = {}
    for place, _, names in os.walk(path):
        for name in names:
            each = pathlib.Path(place) / name
            raw = b"" if each.is_symlink() else _head(each)
            if raw.startswith(_MARK):
                found[str(each.relative_to(path))] = raw
    return found


def _head(path: pathlib.Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_POINTER_BYTES_MAX)


def _oid(raw: bytes, name: str) -> tuple[str, int]:
    found = _POINTER.fullmatch(raw)
    if found is None:
        raise errors.ConfigError(
            f"{name!r} is a Git LFS pointer that cannot be read.",
            remedy="Commit it again with `git lfs track` and `git add`.",
            code=errors.Code.MODEL_UNREADABLE,
        )
    return found[1].decode(), int(found[2])


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def _unavailable(message: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        message,
        remedy="Run `git lfs fetch` in the clone, or `git lfs push` where the file was committed.",
        code=errors.Code.DOWNLOAD_FAILED,
    )
