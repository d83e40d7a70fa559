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
) -> Ended:
    """
    Runs a command to its end, in a session of its own; signals to stop that come here go to all of it.

    Raises:
        ConfigError: there is no such program.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        process = subprocess.Popen(
            list(command),
            cwd=directory,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
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
        pause = _TICK_SECONDS_MIN
        while True:
            try:
                code = process.wait(timeout=pause)
                break
            except subprocess.TimeoutExpired:
                on_sample(gauge.sample())
                pause = min(2 * pause, _TICK_SECONDS)
        last = time.monotonic() + _DRAIN_SECONDS_MAX
        for each in pumps:
            each.join(max(0.0, last - time.monotonic()))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Ended(
        exit_code=code if code >= 0 else _KILLED - code,
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        drained=not any(each.is_alive() for each in pumps),
    )


@contextlib.contextmanager
def _handed_on(group: int) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP go to the process group; the command decides what it does about them."""

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
