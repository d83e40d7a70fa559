"""
Runs `softlaunch log ship` or `consume` as a process of low priority beside the control plane.

A process of its own: it keeps Delta, Arrow and the work of moving rows away from the one that decides, and it may be
killed at any moment. It starts when there is something to move, and ends with its parent, even by kill -9: its input
is a pipe that nobody writes to.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

import structlog

from softlaunch.adapters.local import logs

LOG = structlog.get_logger()
NICENESS = 10
PROGRAM = (sys.executable, "-m", "softlaunch.cli.main")
_END_SECONDS = 5.0
_PAUSE_SECONDS_MIN, _PAUSE_SECONDS_MAX = 1.0, 60.0
"""Between two starts; it doubles while the process ends at once."""
_SETTLED_SECONDS = 30.0


class LogProcess:
    """
    Keeps one shipper running; not for several threads.

    Args:
        home: Whose spool and log.
        spool: Nothing is started while there is nothing below it, nor labels that wait.
        log: Where the process writes what went wrong with it.
        verb: Of `softlaunch log`: ship or consume.
        program: The command line; another one in tests.
    """

    def __init__(
        self,
        *,
        home: pathlib.Path,
        spool: pathlib.Path,
        log: pathlib.Path,
        verb: str = "ship",
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._home = home
        self._spool = spool
        self._log = log
        self._verb = verb
        self._program = tuple(program)
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._start_at = 0.0
        self._pause = _PAUSE_SECONDS_MIN

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def turn(self) -> None:
        """Starts the process if it does not run; one that has ended is told of."""
        now = time.monotonic()
        if self._process is not None:
            if self._process.poll() is None:
                return
            LOG.warning("log_shipper_ended", exit_code=self._process.returncode, log=self._log.name)
            lived = now - self._began
            self._pause = _PAUSE_SECONDS_MIN if lived > _SETTLED_SECONDS else min(2 * self._pause, _PAUSE_SECONDS_MAX)
            self._start_at = now + self._pause
            self._forget()
        waits = any(self._spool.glob("*/*/*.spool")) or any((self._home / "log").glob("*/inbox/*.labels"))
        if now >= self._start_at and waits:
            self._start(now)

    def close(self) -> None:
        """Ends the process; what is spooled waits for the next one."""
        process = self._process
        if process is not None:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            self._forget()

    def _start(self, now: float) -> None:
        command = [*self._program, "log", self._verb, "--leashed", "--home", str(self._home)]
        try:
            logs.cap(self._log)
            log = logs.open_to_append(self._log)
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    cwd=self._home,
                    start_new_session=True,
                )
            finally:
                os.close(log)
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
        except OSError as error:
            LOG.warning("log_shipper_not_started", detail=str(error))
            self._start_at = now + _PAUSE_SECONDS_MAX
        self._began = now

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
