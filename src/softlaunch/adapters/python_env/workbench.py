"""Runs users' commands and our own tools in a release's environment; see ports.python_env.Workbench."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from softlaunch import errors
from softlaunch.adapters.python_env import containers, coverage_probe
from softlaunch.ports import python_env

_LINE_COUNT = 40
_LINE_LENGTH = 500
_TOOL_TIMEOUT_SECONDS = 1_800.0
_PRIVATE = (
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
    "SOFTLAUNCH_HOME",
    "COVERAGE_PROCESS_START",
    "COVERAGE_FILE",
    "SIGSTORE_ID_TOKEN",
    "SIGSTORE_ID_TOKEN_FILE",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
)
"""
Of the caller's environment; a command that saw them would run with other packages than the release, or could sign as
the job.
"""


class LocalWorkbench:
    """
    See ports.python_env.Workbench.

    Args:
        import_path: Directory with only `softlaunch` in it, for tools that run in other environments.
    """

    def __init__(self, import_path: pathlib.Path) -> None:
        self._import_path = import_path

    def command(
        self,
        words: str,
        *,
        python: pathlib.Path,
        directory: pathlib.Path,
        timeout_seconds: float,
        variables: Mapping[str, str],
        log: pathlib.Path | None = None,
        container: python_env.Container | None = None,
        writable: Sequence[pathlib.Path] = (),
    ) -> python_env.CommandResult:
        """See ports.python_env.Workbench.command."""
        if container is not None:
            contained = containers.command(
                _words(words),
                container=container,
                python=python,
                directory=directory.resolve(),
                writable=writable,
                variables=variables,
            )
            with contained as arguments:
                done = _watched(arguments, directory, {**os.environ, **variables}, timeout_seconds, log)
            containers.check(done.exit_code, done.output, container.image)
            return done
        arguments, environment = self.prepared(words, python=python, directory=directory, variables=variables)
        try:
            return _watched(arguments, directory, environment, timeout_seconds, log)
        except OSError as error:
            raise _not_a_command(words, f"cannot be started ({error.strerror})") from error

    def prepared(
        self, words: str, *, python: pathlib.Path, directory: pathlib.Path, variables: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """
        Program with arguments and the environment of a user's command; see ports.python_env.Workbench.command.

        Raises:
            ConfigError: it cannot be split, or there is no such program.
        """
        arguments = _words(words)
        path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        found = shutil.which(arguments[0], path=path)
        if found is None and (directory / arguments[0]).is_file():
            found = str(directory / arguments[0])
        if found is None:
            raise _not_a_command(words, f"names a program {arguments[0]!r} that the environment does not have")
        environment = {name: value for name, value in os.environ.items() if name not in _PRIVATE}
        environment |= {
            "PATH": path,
            "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "1",
            **variables,
        }
        if python.parent.name == "bin" and (python.parent.parent / "pyvenv.cfg").exists():
            environment["VIRTUAL_ENV"] = str(python.parent.parent)
        return [found, *arguments[1:]], environment

    def tool(self, name: str, request: Mapping[str, Any], *, python: pathlib.Path) -> dict[str, Any]:
        """See ports.python_env.Workbench.tool."""
        with tempfile.TemporaryDirectory(prefix="softlaunch-tool-") as scratch:
            asked, answered = pathlib.Path(scratch, "request.json"), pathlib.Path(scratch, "answer.json")
            asked.write_text(json.dumps(request))
            environment = {key: value for key, value in os.environ.items() if key not in _PRIVATE}
            environment |= {
                "PYTHONPATH": str(self._import_path),
                "PYTHONHASHSEED": "0",
                "PYTHONWARNINGS": "ignore",
                # Small batches gain nothing from more threads, and spinning ones starve on a busy machine.
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            }
            module = f"softlaunch.adapters.python_env.scripts.{name}"
            arguments = [str(python), "-P", "-m", module, str(asked), str(answered)]
            found = _watched(arguments, pathlib.Path(scratch), environment, _TOOL_TIMEOUT_SECONDS)
            try:
                answer: dict[str, Any] = json.loads(answered.read_bytes())
            except (OSError, ValueError) as error:
                how = "did not end in time" if found.exit_code is None else f"ended with {found.exit_code}"
                raise errors.UnavailableError(
                    f"Looking at the model ({name}) {how}: {found.output[-400:] or 'it printed nothing'}.",
                    remedy="Load and call the model in the service's environment to see the same.",
                    code=errors.Code.MODEL_UNREADABLE,
                ) from error
        if "error" in answer:
            refused = answer["error"]
            raise errors.ConfigError(refused["message"], remedy=refused["remedy"], code=errors.Code(refused["code"]))
        return answer

    def coverage(self, *, python: pathlib.Path, directory: pathlib.Path, command: str) -> python_env.CoverageProbe:
        """See ports.python_env.Workbench.coverage."""
        return coverage_probe.prepare(python, directory, command)


def _words(words: str) -> list[str]:
    try:
        arguments = shlex.split(words)
    except ValueError as error:
        raise _not_a_command(words, f"cannot be split into words ({error})") from error
    if not arguments:
        raise _not_a_command(words, "is empty")
    return arguments


def _watched(
    arguments: list[str],
    directory: pathlib.Path,
    environment: Mapping[str, str],
    timeout_seconds: float,
    log: pathlib.Path | None = None,
) -> python_env.CommandResult:
    """Runs a process in a session of its own, so that nothing it started outlives it."""
    started = time.monotonic()
    process = subprocess.Popen(
        arguments,
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines: collections.deque[str] = collections.deque(maxlen=_LINE_COUNT)
    reader = threading.Thread(target=_read, args=(process.stdout, lines, log), daemon=True)
    reader.start()
    try:
        exit_code: int | None = process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        exit_code = None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also what it left behind in its session
        process.wait()
        reader.join(5)
    return python_env.CommandResult(exit_code=exit_code, output="\n".join(lines), seconds=time.monotonic() - started)


def _read(stream: IO[bytes], lines: collections.deque[str], log: pathlib.Path | None) -> None:
    with stream, (log or pathlib.Path(os.devnull)).open("ab", buffering=0) as kept:
        while raw := stream.readline(1 << 16):
            with contextlib.suppress(OSError):  # a full disk costs the log, not the command
                kept.write(raw)
            text = raw.decode(errors="replace").rstrip()
            if text:
                lines.append(text[:_LINE_LENGTH])


def _not_a_command(words: str, what: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The command {words!r:.200} {what}.",
        remedy="Correct it in softlaunch.yaml, or add the program's package to the service's lock file.",
        code=errors.Code.TESTS_FAILED,
    )
