"""A command that is run, watched and listened to."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import resource
import signal
import subprocess
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

from softlaunch import errors
from softlaunch.adapters.training import meter
from softlaunch.ports import process_meter

_TICK_SECONDS_MIN, _TICK_SECONDS = 0.1, 1.0
"""The first samples come sooner: what a short run takes is seen too."""
_GRACE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL, as docker stop has it."""
_DRAIN_SECONDS_MAX = 5.0
"""For the last output; a process that the command left behind may keep the pipe open for ever."""
_CHUNK_BYTES = 1 << 16
_LINE_BYTES_MAX = 1 << 16
_KILLED = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How the command ended."""

    exit_code: int
    """128 and the signal's number when one ended it."""
    cpu_seconds: float
    """Of all its processes that were waited for."""
    drained: bool
    """All of the output was read."""
    timed_out: bool = False


class Listener:
    """What is done with output; `line` is called by two threads, one at a time."""

    def __init__(self, raw: Callable[[bool, bytes], None], line: Callable[[str], None]) -> None:
        self._raw, self._line = raw, line
        self._lock = threading.Lock()

    def pump(self, stream: IO[bytes], *, is_error: bool) -> None:
        """Reads a stream to its end."""
        rest = b""
        while chunk := stream.read1(_CHUNK_BYTES):  # type: ignore[attr-defined]
            with self._lock:
                self._raw(is_error, chunk)
                *lines, rest = (rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
                if len(rest) > _LINE_BYTES_MAX:
                    lines, rest = [*lines, rest], b""
                for each in lines:
                    self._line(each.decode(errors="replace"))
        with self._lock:
            if rest:
                self._line(rest.decode(errors="replace"))


def run(
    command: Sequence[str],
    *,
    directory: pathlib.Path,
    variables: Mapping[str, str],
    listener: Listener,
    on_sample: Callable[[process_meter.Sample], None],
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
    leaves_nothing: bool = False,
) -> Ended:
    """
    Runs a command to its end, in a session of its own; signals to stop that come here go to all of it.

    Args:
        command: The program and its arguments.
        directory: Where it runs.
        variables: Added to its environment.
        listener: Told what it prints.
        on_sample: Told each second what it takes.
        environment: None: that of this process.
        timeout_seconds: After which all of it is told to stop, and soon after killed.
        leaves_nothing: What it left behind is killed when it has ended.

    Raises:
        ConfigError: there is no such program.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        process = subprocess.Popen(
            list(command),
            cwd=directory,
            env={**(os.environ if environment is None else environment), "PYTHONUNBUFFERED": "1", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise errors.ConfigError(
            f"{command[0]!r:.200} cannot be started: {error.strerror or error}.",
            remedy="Check the command behind `--`; it is started without a shell.",
            code=errors.Code.TRAINING_COMMAND,
        ) from error
    assert process.stdout is not None
    assert process.stderr is not None
    pumps = [
        threading.Thread(target=listener.pump, args=(stream,), kwargs={"is_error": is_error}, daemon=True)
        for stream, is_error in ((process.stdout, False), (process.stderr, True))
    ]
    with _handed_on(process.pid):
        for each in pumps:
            each.start()
        gauge = meter.TreeMeter(process.pid, meter.nvidia_smi())
        on_sample(gauge.sample())
        stop = _Stop(process.pid, timeout_seconds)
        pause = _TICK_SECONDS_MIN
        while True:
            try:
                code = process.wait(timeout=stop.pause(pause))
                break
            except subprocess.TimeoutExpired:
                stop.look()
                on_sample(gauge.sample())
                pause = min(2 * pause, _TICK_SECONDS)
        if stop.begun or leaves_nothing:
            stop.kill()
        last = time.monotonic() + _DRAIN_SECONDS_MAX
        for each in pumps:
            each.join(max(0.0, last - time.monotonic()))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Ended(
        exit_code=code if code >= 0 else _KILLED - code,
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        drained=not any(each.is_alive() for each in pumps),
        timed_out=stop.begun,
    )


class _Stop:
    """Ends a process group that had its time: SIGTERM first, SIGKILL when that was not enough."""

    def __init__(self, group: int, timeout_seconds: float | None) -> None:
        self._group = group
        self._at = time.monotonic() + timeout_seconds if timeout_seconds is not None else None
        self.begun = False

    def pause(self, seconds: float) -> float:
        """So long may be waited."""
        return seconds if self._at is None else min(seconds, max(0.0, self._at - time.monotonic()))

    def look(self) -> None:
        """Does what is due."""
        if self._at is None or time.monotonic() < self._at:
            return
        self._send(signal.SIGKILL if self.begun else signal.SIGTERM)
        self.begun, self._at = True, time.monotonic() + _GRACE_SECONDS

    def kill(self) -> None:
        """Ends what is still there."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._group, number)


@contextlib.contextmanager
def _handed_on(group: int) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP go to the process group; the command decides what it does about them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what signals do
        return

    def hand_on(number: int, _frame: types.FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.signal(each, hand_on) for each in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
