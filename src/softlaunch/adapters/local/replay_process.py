"""Runs `softlaunch replay` as a child of low priority: the control plane's loop never waits for it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, Any

from softlaunch import errors
from softlaunch.adapters.local import logs
from softlaunch.core import units
from softlaunch.ports import replays

NICENESS = 10
"""Serving comes first; the candidate's processes inherit it."""
_END_SECONDS = 20.0
"""Longer than the candidate's processes are given to drain."""


class ReplayProcess:
    """
    A ports.replays.Replays.

    Args:
        home: Whose recordings and releases.
        log: Where the process writes what went wrong with it.
    """

    def __init__(self, *, home: pathlib.Path, log: pathlib.Path) -> None:
        self._home = home
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def start(self, job: replays.Job) -> None:
        """See ports.replays.Replays.start."""
        self.close()
        command = [
            sys.executable, "-m", "softlaunch.cli.main", "replay", job.service,
            "--candidate", job.candidate.value,
            "--since", units.format_duration(job.since_seconds),
            "--rate", f"{job.rate:g}x",
            "--env", job.environment,
            "--home", str(self._home),
            # Its input is a pipe that nobody writes to: when this process is gone, even by kill -9, it ends.
            "--leashed",
            "--json",
        ]  # fmt: skip
        try:
            self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            log = logs.open_to_append(self._log)
            self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`, turns later
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=self._output,
                    stderr=log,
                    cwd=self._home,
                    start_new_session=True,
                )
            finally:
                os.close(log)
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
        except OSError as error:
            self.close()
            raise errors.UnavailableError(
                f"No replay can be started: {error.strerror or error}.",
                remedy="Check the disk and the number of processes; it is tried again.",
                code=errors.Code.REPLAY_UNREADY,
            ) from error

    def result(self) -> Mapping[str, Any] | None:
        """See ports.replays.Replays.result."""
        process, output = self._process, self._output
        if process is None or output is None or process.poll() is None:
            return None
        output.seek(0)
        raw = output.read()
        self.close()
        try:
            found = json.loads(raw)
        except ValueError:
            found = None
        if isinstance(found, dict) and ("verdict" in found or "error" in found):
            return found
        return {
            "error": f"The replay ended with exit code {process.returncode} and said nothing: see {self._log.name}.",
            "code": errors.Code.REPLAY_UNREADY.value,
        }

    def close(self) -> None:
        """See ports.replays.Replays.close."""
        process, self._process = self._process, None
        output, self._output = self._output, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if output is not None:
            output.close()
