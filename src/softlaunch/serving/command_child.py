"""
A command that serves HTTP: started on a free port of the loopback, watched, ended; with all it has started itself.

Nothing of it outlives this process: it is asked first (SIGTERM to its group), killed after a grace, and the kernel
kills it when this process is killed (PR_SET_PDEATHSIG). What it has started in turn carries the supervisor's token in
its environment, and is cleared away with this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from softlaunch import errors
from softlaunch.serving import meter

_PR_SET_PDEATHSIG = 1
_PLACEHOLDER = "{port}"
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_SAMPLE_SECONDS = 0.25
_PROCESSES_MAX = 200
"""Of a tree that is looked at; a guess, far above what serves."""
_POLL_SECONDS = 0.02
_OURS = ("PYTHONPATH", "PYTHONSAFEPATH")
"""What our own interpreter was started with, and would break the command's."""


class Child:
    """
    The running command.

    Args:
        command: Program and arguments; {port} in them is replaced.
        code: Its working directory.

    Raises:
        ConfigError: there is no such program.
    """

    def __init__(self, command: Sequence[str], code: pathlib.Path) -> None:
        self.port = _free_port()
        words = [word.replace(_PLACEHOLDER, str(self.port)) for word in command]
        environment = {name: value for name, value in os.environ.items() if name not in _OURS}
        environment |= {"PORT": str(self.port)}
        self._name = command[0]
        program = _program(words[0], code)
        libc = ctypes.CDLL(None, use_errno=True)  # before the fork: after it nothing may be loaded
        parent = os.getpid()

        def dies_with_us() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # killed between fork and prctl
                os._exit(1)

        try:
            self._process = subprocess.Popen(
                [program, *words[1:]],
                cwd=code,
                env=environment,
                stdin=subprocess.DEVNULL,
                process_group=0,
                # The main thread forks and lives as long as the process: the kernel's signal goes by threads.
                preexec_fn=dies_with_us if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        except OSError as error:
            raise _failed(f"The command {self._name!r} cannot be started: {error.strerror or error}.") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ended(self) -> None:
        """
        Returns never.

        Raises:
            ConfigError: the command has ended.
        """
        while (code := self._process.poll()) is None:  # noqa: ASYNC110  # the kernel tells nobody's event
            await asyncio.sleep(_POLL_SECONDS)
        how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
        raise _failed(f"The command {self._name!r} ended {how}; what it printed last stands above.")

    async def end(self, seconds: float) -> None:
        """Asks its group to end, and kills what is left of it after so long."""
        self._signal(signal.SIGTERM)
        until = time.monotonic() + max(0.1, seconds)
        while self._process.poll() is None and time.monotonic() < until:  # noqa: ASYNC110  # as above
            await asyncio.sleep(_POLL_SECONDS)
        if self._process.poll() is None:
            sys.stderr.write(f"softlaunch.serving: the command ignored SIGTERM for {seconds:.3g} s and was killed\n")
        self.kill()

    def kill(self) -> None:
        """Ends whatever is left of its group, now."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


class TreeMeter(meter.Meter):
    """Memory and CPU of a process and everything below it."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._root = pid
        self._pids: list[int] = [pid]

    def watch(self) -> None:
        """As of a Meter. Pages that several of the processes share are counted for each of them."""
        self.sample()
        asyncio.get_running_loop().call_later(_SAMPLE_SECONDS, self.watch)

    def sample(self) -> None:
        """Looks now."""
        self._pids = tree(self._root)
        resident = sum(map(_resident_kib, self._pids))
        if resident:
            self.memory_kib = resident
            self.memory_headers = (("x-softlaunch-memory-kib", str(resident)),)

    def cpu_ns(self) -> int:
        """CPU time of the processes that were there at the last look, so far."""
        total = 0
        for pid in self._pids:
            with contextlib.suppress(OSError):  # ended
                total += time.clock_gettime_ns(_cpu_clock(pid))
        return total


def tree(root: int) -> list[int]:
    """The process and everything below it, at most so many."""
    found = [root]
    for pid in found:
        if len(found) > _PROCESSES_MAX:
            break
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # names only
                with contextlib.suppress(OSError):
                    children = pathlib.Path(f"/proc/{pid}/task/{task}/children").read_bytes().split()
                    found += [int(child) for child in children]
    return found


def _cpu_clock(pid: int) -> int:
    """
    The process's CPU-time clock.

    Source:
        clock_getcpuclockid(3) on Linux: the pid's complement above the three bits that say CPUCLOCK_SCHED.
    """
    return (~pid << 3) | 2


def _resident_kib(pid: int) -> int:
    try:
        return int(pathlib.Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_KIB
    except (OSError, IndexError):
        return 0


def _program(name: str, code: pathlib.Path) -> str:
    found = str(code / name) if "/" in name else shutil.which(name)
    if found is None or not pathlib.Path(found).exists():
        raise _failed(f"There is no program {name!r} for the command.")
    return found


def _free_port() -> int:
    # Asked for anew at every start: whoever holds the last one does no harm.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _failed(message: str) -> errors.ConfigError:
    return errors.ConfigError(
        message,
        remedy="Run `model.command` in the service's folder with PORT set, and correct it in softlaunch.yaml.",
        code=errors.Code.COMMAND_FAILED,
    )
