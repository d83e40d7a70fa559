"""
Who a process is, for longer than its pid says so.

Pids are given again after their process has ended. A process is known here by three things together: its pid, the
moment it was started, and a secret token in the environment it was started with. Only a process that matches all three
is ever signalled; a stranger under a recycled pid is never touched. Where the system offers it (Linux), the signal
goes through a descriptor of the process (pidfd), so that not even an instant lies between looking and signalling.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterator

import psutil

TOKEN_VARIABLE = "SOFTLAUNCH_INSTANCE"  # noqa: S105 (the name of the variable, not a secret)
"""Where in a process's environment its token stands."""

_LINUX = sys.platform == "linux"
_STAT_STATE, _STAT_START = 0, 19
"""Fields 3 and 22 of /proc/PID/stat, counted after the command name (proc_pid_stat(5))."""
_START_TOLERANCE_SECONDS = 2.0
"""Elsewhere start times come from the wall clock's idea of when the machine booted, which moves with NTP."""

_START_SECONDS = 0.1
_EXEC_LOOKS, _EXEC_SECONDS = 5, 0.001
"""An environment reads empty for microseconds while a process turns into another program: look again first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """One process for ever: see the rules above."""

    pid: int
    started: float
    """Linux: clock ticks since boot; elsewhere Unix seconds."""
    boot: str
    """Linux: the boot's id, as ticks count from there; elsewhere empty."""
    token: str


def identify(pid: int, token: str) -> Identity | None:
    """The identity of the living process `pid` if its environment holds the token, else None."""
    before = _started(pid)
    if before is None or not _holds(pid, token) or _started(pid) != before:
        return None
    return Identity(pid=pid, started=before, boot=_boot(), token=token)


def identify_child(pid: int, token: str) -> Identity:
    """
    The identity of a child that this process has started with the token and not waited for yet.

    Its pid cannot be given to another one so long, and its environment cannot be relied on yet: it reads empty for an
    instant while the child turns into its program.
    """
    return Identity(pid=pid, started=_started(pid) or 0.0, boot=_boot(), token=token)


def is_alive(identity: Identity) -> bool:
    """The very process still runs (a zombie does not)."""
    if identity.boot != _boot():
        return False
    started = _started(identity.pid)
    if started is None:
        return False
    same = started == identity.started if _LINUX else abs(started - identity.started) <= _START_TOLERANCE_SECONDS
    return same and _holds(identity.pid, identity.token)


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signals the very process; False when it is not there any more."""
    with contextlib.suppress(ProcessLookupError, PermissionError), _opened(identity.pid) as fd:
        if not is_alive(identity):
            return False
        if fd is None:
            os.kill(identity.pid, number)
        else:
            signal.pidfd_send_signal(fd, number)
        return True
    return False


def open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None when there is none, or the system knows none."""
    if not _LINUX:
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def holders(variable: str, value: str) -> list[int]:
    """Pids of this user's living processes whose environment says VARIABLE=value, lowest first."""
    entry = f"{variable}={value}".encode()
    return [pid for pid in sorted(psutil.pids()) if entry in _environment(pid)]


def environment_value(pid: int, variable: str) -> str | None:
    """One variable of the environment the process was started with; None when unset or not ours to read."""
    prefix = f"{variable}=".encode()
    for entry in _environment(pid):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return None


def find_leader(token: str) -> Identity | None:
    """
    The process that was started with the token in a session of its own; its workers, which have the token too, are not.

    Looks twice, as a process just being started may not show its environment the first time.
    """
    for _ in range(2):
        for pid in holders(TOKEN_VARIABLE, token):
            identity = identify(pid, token)
            if identity is not None and _leads_session(pid):
                return identity
        time.sleep(_START_SECONDS)
    return None


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _holds(pid: int, token: str) -> bool:
    entry = f"{TOKEN_VARIABLE}={token}".encode()
    for _ in range(_EXEC_LOOKS):
        environment = _environment(pid)
        if environment - {b""}:
            return entry in environment
        time.sleep(_EXEC_SECONDS)
    return False


def _environment(pid: int) -> frozenset[bytes]:
    if _LINUX:
        try:
            return frozenset(pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
        except OSError:  # ended, or another user's
            return frozenset()
    try:
        return frozenset(os.fsencode(f"{key}={value}") for key, value in psutil.Process(pid).environ().items())
    except psutil.Error:
        return frozenset()


def _started(pid: int) -> float | None:
    """When the living process was started; None when there is none (a zombie counts as none)."""
    if _LINUX:
        try:
            stat = pathlib.Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        fields = stat[stat.rindex(b")") + 2 :].split()
        return None if fields[_STAT_STATE] in {b"Z", b"X"} else float(fields[_STAT_START])
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def _boot() -> str:
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip() if _LINUX else ""


@contextlib.contextmanager
def _opened(pid: int) -> Iterator[int | None]:
    fd = os.pidfd_open(pid) if _LINUX else None
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)
