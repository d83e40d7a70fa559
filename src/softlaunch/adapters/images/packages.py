"""
The packages of an image: resolved to versions with hashes, unpacked by uv, freed of everything that tells a machine.

The release's lock is kept to. What serving needs beside it has softlaunch's own versions, so that one softlaunch makes
one image of a release, whatever registries have published since. uv works from its cache alone when that suffices.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from softlaunch import errors

_PLATFORMS: Mapping[str, str] = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
"""uv's names. glibc 2.28 is of 2018: every wheel of today's packages is made for it or an older one."""
_TIMEOUT_SECONDS = 1_200.0
_URL = re.compile(r"\b(?:https?|file|git\+\w+)://\S+")
_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?==\S+)", re.MULTILINE)
_UNSATISFIABLE = ("No solution found", "unsatisfiable", "no versions of", "conflict")
_LOCAL_FILES = ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
"""Of a .dist-info: who installed, why and from where; nothing reads them at run time."""


def resolve(
    lock: bytes | None, names: Sequence[str], *, python: str, architecture: str, memory: pathlib.Path
) -> tuple[str, str]:
    """
    Requirements in pip's format, each with its version and hashes; and a note, empty when there is nothing to say.

    Args:
        lock: The release's own requirements.
        names: What is needed beside them.
        python: As 3.11.
        architecture: amd64 or arm64.
        memory: Directory where answers are kept, by what was asked.

    Raises:
        ConfigError: they fit not together, or one has no wheel for that Python.
        UnavailableError: the package index does not answer.
    """
    wanted = _wanted(lock, names)
    asked = json.dumps([wanted, python, architecture, (lock or b"").decode(errors="replace"), _own_versions(lock)])
    kept = memory / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.txt"
    note_file = kept.with_suffix(".note")
    if kept.is_file() and note_file.is_file():
        return kept.read_text(), note_file.read_text()
    with tempfile.TemporaryDirectory(prefix="softlaunch-image-") as scratch:
        here = pathlib.Path(scratch)
        (here / "wanted.in").write_text("".join(f"{each}\n" for each in wanted))
        (here / "lock.txt").write_bytes(lock or b"")
        (here / "own.txt").write_text("".join(f"{each}\n" for each in _own_versions(lock)))
        inputs = [str(here / "lock.txt"), str(here / "wanted.in")]
        options = ("--python-version", python, "--python-platform", _PLATFORMS[architecture], "--only-binary", ":all:")
        words = ("pip", "compile", "--generate-hashes", "--no-header", "--no-annotate", *options, *inputs)
        note = ""
        try:
            found = _offline_first(*words, "--constraints", str(here / "own.txt"))
        except _UvError as refused:
            if not refused.is_unsatisfiable:
                raise _failed(refused.said) from refused
            note = "softlaunch's own versions do not fit the release's lock file: the newest that fit it are taken"
            try:
                found = _offline_first(*words)
            except _UvError as error:
                raise _failed(error.said) from error
    requirements = "".join(f"{line}\n" for line in found.splitlines() if not line.startswith(("#", "-")))
    memory.mkdir(parents=True, exist_ok=True)
    for path, text in ((note_file, note), (kept, requirements)):
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        unfinished.write_text(text)
        unfinished.rename(path)
    return requirements, note


def install(requirements: str, target: pathlib.Path, *, python: str, architecture: str, interpreter: str) -> None:
    """
    Unpacks the packages into `target`; the same files whenever and wherever.

    Args:
        requirements: As `resolve` gave.
        target: Made.
        python: As 3.11.
        architecture: amd64 or arm64.
        interpreter: Path that the packages' programs are run by.

    Raises:
        ConfigError: a package has no wheel that fits.
        UnavailableError: the package index does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="softlaunch-image-") as scratch:
        listed = pathlib.Path(scratch) / "requirements.txt"
        listed.write_text(requirements)
        options = ("--python-version", python, "--python-platform", _PLATFORMS[architecture], "--only-binary", ":all:")
        words = ("pip", "install", "--python", sys.executable, "--target", str(target), "--link-mode", "copy")
        strict = ("--require-hashes", "--no-deps", "--requirements", str(listed))
        try:
            _offline_first(*words, *options, *strict)
        except _UvError as error:
            raise _failed(error.said) from error
    _normalise(target, interpreter)


def versions(requirements: str) -> tuple[str, ...]:
    """NAME==VERSION of each."""
    return tuple(sorted(_PINNED.findall(requirements)))


def _normalise(target: pathlib.Path, interpreter: str) -> None:
    for found in target.glob(".*lock"):
        found.unlink()
    for cache in target.rglob("__pycache__"):
        shutil.rmtree(cache)
    programs = target / "bin"
    for path in sorted(programs.iterdir()) if programs.is_dir() else ():
        raw = path.read_bytes()
        if raw.startswith(b"#!") and b"python" in raw.partition(b"\n")[0]:
            path.write_bytes(f"#!{interpreter}\n".encode() + raw.partition(b"\n")[2])
    for info in target.glob("*.dist-info"):
        for name in _LOCAL_FILES:
            (info / name).unlink(missing_ok=True)
        record = info / "RECORD"
        if record.is_file():
            record.write_text(_record(record.read_text()))


def _record(text: str) -> str:
    """The record of files without those that are gone, programs without the hash they had before; sorted."""
    lines = []
    for row in csv.reader(io.StringIO(text)):
        name = row[0]
        if name.rpartition("/")[2] in _LOCAL_FILES:
            continue
        if "/bin/" in f"/{name}":
            lines.append([name.lstrip("./"), "", ""])
        else:
            lines.append(row)
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows(sorted(lines))
    return output.getvalue()


def _wanted(lock: bytes | None, names: Sequence[str]) -> list[str]:
    locked = _names(lock)
    return sorted(name if _canonical(name) in locked else f"{name}=={_own_version(name)}" for name in names)


def _own_versions(lock: bytes | None) -> list[str]:
    """What softlaunch itself runs with, but what the lock decides."""
    locked = _names(lock)
    found = {_canonical(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}
    return [
        f"{name}=={version}" for name, version in sorted(found.items()) if name not in locked and "+" not in version
    ]


def _names(lock: bytes | None) -> set[str]:
    return {_canonical(name) for name in _NAME.findall((lock or b"").decode(errors="replace"))}


def _own_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise errors.ConfigError(
            f"The image needs {name}, which neither the release's lock file names nor softlaunch has.",
            remedy=f"Add {name} to requirements.lock and build the release again.",
            code=errors.Code.IMAGE_PACKAGES,
        ) from error


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class _UvError(Exception):
    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = " ".join(_URL.sub("(address left out)", said).split())[-600:]
        self.is_unsatisfiable = any(word in said for word in _UNSATISFIABLE)


def _offline_first(*words: str) -> str:
    try:
        return _uv(*words, "--offline")
    except _UvError:
        return _uv(*words)


def _uv(*words: str) -> str:
    import uv  # noqa: PLC0415  # only builds need it

    dropped = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"}
    try:
        found = subprocess.run(
            [uv.find_uv_bin(), "--quiet", "--color", "never", "--no-progress", *words],
            capture_output=True,
            check=False,
            cwd="/",  # a pyproject.toml or uv.toml of the current folder must not take part
            env={name: value for name, value in os.environ.items() if name not in dropped},
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except FileNotFoundError as error:
        raise _UvError("the uv program is missing; install softlaunch again") from error
    except subprocess.TimeoutExpired as error:
        raise _UvError(f"uv did not end within {_TIMEOUT_SECONDS:g} s") from error
    if found.returncode:
        raise _UvError(found.stderr or found.stdout)
    return found.stdout


def _failed(said: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The packages of the image cannot be had: {said or 'no reason was given'}.",
        remedy="Check the lock file and the network: every package needs a wheel for the image's Python and platform.",
        code=errors.Code.IMAGE_PACKAGES,
    )
