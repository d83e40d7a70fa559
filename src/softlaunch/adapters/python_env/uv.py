"""
Virtual environments made by uv, one per lock digest, under one directory.

An environment is complete when its marker file is there; the marker is written last, under a lock file that dies with
the process. Whatever stands there without a marker was left by a killed build and is removed before the next try. uv is
first asked to work from its cache alone: with a warm cache no network is needed and none is touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

from softlaunch import errors
from softlaunch.core import release, release_json
from softlaunch.ports import python_env

SERVING_SET = ("granian", "msgspec", "numpy")
"""What a model server imports; the lock's own versions win."""
GRPC_SET = ("protobuf",)
"""What it imports when the first gRPC request comes. Not for building: the compiler brings a protobuf of its own."""
TEST_SET = ("pytest", "coverage")
COMPILE_SET_PINNED = (
    "skl2onnx==1.20.0",
    "onnxmltools==1.16.0",
    "onnx==1.23.2",
    "onnxruntime==1.32.0",
    "protobuf==6.33.6",
)
"""Tried first: the same model then compiles to the same bytes on every machine."""
COMPILE_SET = ("skl2onnx", "onnxmltools", "onnx", "onnxruntime", "protobuf<7")
"""Tried when the lock refuses the pinned ones."""
_MARKER = "softlaunch-complete.json"
_TIMEOUT_SECONDS = 1_200.0
_URL = re.compile(r"\b(?:https?|file|git\+\w+)://\S+")
_UNSATISFIABLE = ("No solution found", "unsatisfiable", "no versions of", "conflict")
_RECIPE = 1
"""Part of every environment's key: counts changes of how environments are made."""


class UvEnvironments:
    """
    See ports.python_env.Environments.

    Args:
        venvs: Directory that holds the environments.
    """

    def __init__(self, venvs: pathlib.Path) -> None:
        self._venvs = venvs

    def serving(self, lock: bytes | None) -> python_env.Interpreter:
        """See ports.python_env.Environments.serving."""
        if lock is None:
            return _own()
        directory = self._venvs / _key("serving", lock)
        self._ensure(directory, lock, required=(*SERVING_SET, *GRPC_SET), optional=())
        return python_env.Interpreter(python=_python(directory), own=True)

    def building(self, lock: bytes | None) -> python_env.Interpreter:
        """See ports.python_env.Environments.building."""
        if lock is None:
            return _own()
        directory = self._venvs / _key("building", lock)
        problem = self._ensure(
            directory, lock, required=(*SERVING_SET, *TEST_SET), optional=(COMPILE_SET_PINNED, COMPILE_SET)
        )
        return python_env.Interpreter(python=_python(directory), own=True, compile_problem=problem)

    def serving_python(self, directory: pathlib.Path) -> pathlib.Path:
        """
        The interpreter that serves an unpacked release; its environment is made when absent.

        Raises:
            ConfigError: `directory` is no release.
            UnavailableError: the environment cannot be made.
        """
        content = release_json.load_content((directory / "release.json").read_bytes())
        if content.runtime is release.Runtime.ONNX or content.lock_file is None:
            return pathlib.Path(sys.executable)
        return self.serving((directory / content.lock_file).read_bytes()).python

    def import_path(self) -> pathlib.Path:
        """A directory that holds nothing but `softlaunch`, for PYTHONPATH of any of the interpreters."""
        directory = self._venvs / "softlaunch-only"
        directory.mkdir(parents=True, exist_ok=True)
        link, package = directory / "softlaunch", pathlib.Path(__file__).parents[2]
        if not (link.is_symlink() and link.readlink() == package):
            scratch = pathlib.Path(tempfile.mkdtemp(dir=self._venvs, prefix=".link-")) / "softlaunch"
            scratch.symlink_to(package)
            scratch.rename(link)
            scratch.parent.rmdir()
        return directory

    def _ensure(
        self, directory: pathlib.Path, lock: bytes, *, required: Sequence[str], optional: Sequence[Sequence[str]]
    ) -> str | None:
        """Makes the environment unless it is complete; says why none of the optional sets fits, None when one does."""
        marker = directory / _MARKER
        complete = _completed(marker)
        if complete is not None:
            return complete.problem
        with self._locked(directory.name):
            complete = _completed(marker)
            if complete is not None:  # somebody else made it while this one waited
                return complete.problem
            shutil.rmtree(directory, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix="softlaunch-lock-") as scratch:
                problem = _make(directory, pathlib.Path(scratch), lock, required=required, optional=optional)
            unfinished = directory / f"{_MARKER}.writing"
            unfinished.write_text(json.dumps({"problem": problem}))
            unfinished.rename(marker)
            return problem

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        try:
            self._venvs.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._venvs / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _failed(f"{self._venvs} cannot be written to: {error.strerror}", "") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@dataclasses.dataclass(frozen=True)
class _Completed:
    problem: str | None


def _completed(marker: pathlib.Path) -> _Completed | None:
    try:
        return _Completed(json.loads(marker.read_bytes())["problem"])
    except (OSError, ValueError):
        return None


class _UvError(Exception):
    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


def _make(
    directory: pathlib.Path,
    scratch: pathlib.Path,
    lock: bytes,
    *,
    required: Sequence[str],
    optional: Sequence[Sequence[str]],
) -> str | None:
    lock_file, kept = scratch / "requirements.lock", scratch / "kept.txt"
    lock_file.write_bytes(lock)
    python = str(_python(directory))
    try:
        _uv("venv", "--no-project", "--python", sys.executable, str(directory))
        _install(python, "--requirements", str(lock_file))
        kept.write_text(_uv("pip", "freeze", "--python", python))
        _install(python, "--constraints", str(kept), *required)
    except _UvError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise _failed("The environment of the service's lock file cannot be made", error.said) from error
    problem = None
    for packages in optional:
        try:
            kept.write_text(_uv("pip", "freeze", "--python", python))
            _install(python, "--constraints", str(kept), *packages)
        except _UvError as error:
            if not any(word in error.said for word in _UNSATISFIABLE):
                shutil.rmtree(directory, ignore_errors=True)  # the network, most likely: the next build may succeed
                raise _failed("The model compiler cannot be installed", error.said) from error
            # uv's own words stay out: this sentence becomes part of a release, whose digest must not depend on them.
            problem = "the model compiler (skl2onnx, onnx, onnxruntime) does not fit the service's lock file"
        else:
            return None
    return problem


def _install(python: str, *what: str) -> None:
    try:
        _uv("pip", "install", "--offline", "--python", python, *what)
    except _UvError:
        _uv("pip", "install", "--python", python, *what)


def _uv(*arguments: str) -> str:
    import uv  # noqa: PLC0415  # only builds need it

    kept = {
        name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"}
    }
    try:
        found = subprocess.run(
            [uv.find_uv_bin(), "--quiet", "--color", "never", "--no-progress", *arguments],
            capture_output=True,
            check=False,
            cwd="/",  # a pyproject.toml or uv.toml of the current folder must not take part
            env=kept,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except FileNotFoundError as error:
        raise _UvError("the uv program is missing; install softlaunch again") from error
    except subprocess.TimeoutExpired as error:
        raise _UvError(f"uv did not end within {_TIMEOUT_SECONDS:g} s") from error
    if found.returncode:
        raise _UvError(without_addresses(found.stderr or found.stdout))
    return found.stdout


def without_addresses(text: str) -> str:
    """What uv said on one line, with addresses of registries (they may hold credentials) left out; the last 600."""
    return " ".join(_URL.sub("(address left out)", text).split())[-600:]


def _key(kind: str, lock: bytes) -> str:
    version = f"{platform.python_implementation()} {platform.python_version()} {platform.machine()} {sys.base_prefix}"
    sets = (SERVING_SET, TEST_SET, COMPILE_SET_PINNED, COMPILE_SET) if kind == "building" else (SERVING_SET, GRPC_SET)
    material = json.dumps([_RECIPE, kind, version, sets]).encode() + b"\0" + lock
    return f"{kind}-{hashlib.sha256(material).hexdigest()[:24]}"


def _python(directory: pathlib.Path) -> pathlib.Path:
    return directory / "bin" / "python"


def _own() -> python_env.Interpreter:
    import importlib.util  # noqa: PLC0415  # only asked when there is no lock file

    absent = [name for name in ("sklearn", "skl2onnx", "onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    problem = (
        f"softlaunch's own environment has no {', '.join(absent)}: install softlaunch[compile]" if absent else None
    )
    return python_env.Interpreter(python=pathlib.Path(sys.executable), own=False, compile_problem=problem)


def _failed(what: str, said: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"{what}: {said or 'no reason was given'}.",
        remedy="Check the lock file and the network: `uv pip install -r` with it shows the same.",
        code=errors.Code.ENVIRONMENT_FAILED,
    )
