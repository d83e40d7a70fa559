"""Runs load tests in processes of their own, at the control plane's own priority: a sender that waits is no sender."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, Any

from softlaunch import errors
from softlaunch.adapters.local import logs
from softlaunch.ports import loads

_MODULE = "softlaunch.adapters.local.load_sender"


class LoadProcesses:
    """
    A ports.loads.Loads.

    Args:
        log: Where senders write what went wrong with them.
    """

    def __init__(self, log: pathlib.Path) -> None:
        self._log = log

    def start(self, job: loads.Job) -> LoadRun:
        """See ports.loads.Loads.start."""
        output: IO[bytes] | None = None
        try:
            log = logs.open_to_append(self._log)
            try:
                with tempfile.TemporaryFile() as work:
                    work.write(json.dumps(_document(job)).encode())
                    work.flush()
                    work.seek(0)
                    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the run, much later
                    process = subprocess.Popen(
                        [sys.executable, "-m", _MODULE, str(work.fileno())],
                        # Nobody writes to it: when this process is gone, even by kill -9, the sender sees its end.
                        stdin=subprocess.PIPE,
                        stdout=output,
                        stderr=log,
                        cwd=self._log.parent,
                        pass_fds=(work.fileno(),),
                        start_new_session=True,
                    )
            finally:
                os.close(log)
        except OSError as error:
            if output is not None:
                output.close()
            raise errors.UnavailableError(
                f"No load test can be started: {error.strerror or error}.",
                remedy="Check the disk and the number of processes, then `softlaunch resume`.",
                code=errors.Code.LOAD_TEST_FAILED,
            ) from error
        return LoadRun(process, output, log_name=self._log.name)


class LoadRun:
    """A ports.loads.Run."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes], *, log_name: str) -> None:
        self._process = process
        self._output = output
        self._log_name = log_name
        self._told = b""
        self._progress: Mapping[str, Any] = {}
        self._result: Mapping[str, Any] | None = None

    @property
    def pid(self) -> int:
        """Of the sender."""
        return self._process.pid

    def progress(self) -> Mapping[str, Any]:
        """See ports.loads.Run.progress."""
        self._read()
        return self._progress

    def result(self) -> Mapping[str, Any] | None:
        """See ports.loads.Run.result."""
        code = self._process.poll()
        if code is None:
            return None
        self._read()
        self.stop()
        if self._result is None:
            raise errors.UnavailableError(
                f"The sender of the load test ended with exit code {code} and without a result.",
                remedy=f"Read logs/{self._log_name} in the home, then `softlaunch resume`.",
                code=errors.Code.LOAD_TEST_FAILED,
            )
        return self._result

    def stop(self) -> None:
        """See ports.loads.Run.stop."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._output.close()

    def _read(self) -> None:
        """Takes the lines that are new; what a sender has begun to write waits for its end."""
        if self._output.closed:
            return
        # The sender writes by the same open file, whose position a seek would move.
        size = os.fstat(self._output.fileno()).st_size
        raw = os.pread(self._output.fileno(), size - len(self._told), len(self._told))
        whole = raw[: raw.rfind(b"\n") + 1]
        self._told += whole
        for line in whole.splitlines():
            found = json.loads(line)
            if "result" in found:
                self._result = found["result"]
            else:
                self._progress = found


def _document(job: loads.Job) -> dict[str, Any]:
    return {
        "sockets": list(job.sockets),
        "requests": [
            {"path": each.path, "headers": dict(each.headers), "body": base64.b64encode(each.body).decode()}
            for each in job.requests
        ],
        "load": dataclasses.asdict(job.load),
        "seed": job.seed,
        "timeout_seconds": job.timeout_seconds,
    }
