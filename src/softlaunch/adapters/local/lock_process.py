"""Runs `softlaunch lock --update` as a process of low priority beside the control plane; see ports.locker.Locker."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from softlaunch import errors
from softlaunch.ports import locker

PROGRAM = (sys.executable, "-m", "softlaunch.cli.main")
SECONDS_MAX = 3600.0
"""A large model over a slow line; a guess."""
_NICENESS = 10


class LockProcesses:
    """
    A ports.locker.Locker.

    Args:
        home: Whose caches are used.
        program: The command line; another one in tests.
        seconds_max: After so long a look is given up.
    """

    def __init__(
        self, *, home: pathlib.Path, program: Sequence[str] = PROGRAM, seconds_max: float = SECONDS_MAX
    ) -> None:
        self._home = home
        self._program = tuple(program)
        self._seconds_max = seconds_max
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def update(self, checkout: pathlib.Path, branch: str) -> locker.Updated:
        """See ports.locker.Locker.update."""
        process = self._start(checkout, branch)
        try:
            out, _ = process.communicate(timeout=self._seconds_max)
        except subprocess.TimeoutExpired as error:
            _end(process)
            process.communicate()
            raise _failed(f"Looking at what softlaunch.lock pins took longer than {self._seconds_max:g} s.") from error
        finally:
            with self._lock:
                self._running.discard(process)
        found = _document(out)
        if process.returncode or not found:
            raise _failed(str(found.get("error") or f"`softlaunch lock` ended with {process.returncode}."))
        return locker.Updated(commit=found["commit"] or "", text=_text(found))

    def close(self) -> None:
        """See ports.locker.Locker.close."""
        with self._lock:
            self._closed = True
            running = tuple(self._running)
        for process in running:
            _end(process)

    def _start(self, checkout: pathlib.Path, branch: str) -> subprocess.Popen[bytes]:
        command = [
            *self._program, "lock", "--update", "--commit", "--push", "--unless-reverted",
            "--branch", branch,
            "--dir", str(checkout),
            "--home", str(self._home),
            "--json",
        ]  # fmt: skip
        with self._lock:
            if self._closed:
                raise _failed("softlaunch is going down.")
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,  # --json says there what it says on stdout
                    cwd=self._home,
                    start_new_session=True,
                )
            except OSError as error:
                raise _failed(f"`softlaunch lock` cannot be started: {error.strerror or error}.") from error
            self._running.add(process)
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
        return process


def _text(found: dict[str, Any]) -> str:
    moved = ", ".join(each["role"] for each in found["stale"])
    if found["taken_back"]:
        return f"{moved} moved; {found['branch']} keeps what commit {found['taken_back'][:12]} went back to."
    if found["commit"]:
        return f"softlaunch.lock of {found['branch']} was updated by commit {found['commit'][:12]}: {moved} moved."
    return f"softlaunch.lock of {found['branch']} is up to date."


def _failed(text: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        text, remedy="It is tried again; `softlaunch lock --check` in a clone shows it.", code=errors.Code.GIT_FAILED
    )


def _document(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
