"""
Runs `softlaunch ship` as processes of low priority beside the control plane; see ports.shipper.Shipper.

A pipeline asks the control plane for its launch over HTTP as anybody does, and gives up by itself when that is gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import IO, Any

from softlaunch import errors
from softlaunch.adapters.local import logs
from softlaunch.ports import shipper

NICENESS = 10
"""Serving comes first; tests and builds inherit it."""
BY = "git"
PROGRAM = (sys.executable, "-m", "softlaunch.cli.main")
_END_SECONDS = 5.0
_NEIGHBOUR = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    order: shipper.Order
    process: subprocess.Popen[bytes]
    output: IO[bytes]


class ShipProcesses:
    """
    A ports.shipper.Shipper.

    Args:
        home: Whose control plane launches.
        logs_directory: Where each pipeline writes what it says besides its result.
        program: The command line; another one in tests.
    """

    def __init__(self, *, home: pathlib.Path, logs_directory: pathlib.Path, program: Sequence[str] = PROGRAM) -> None:
        self._home = home
        self._logs = logs_directory
        self._program = tuple(program)
        self._runs: dict[tuple[str, str], _Run] = {}
        self._lock = threading.Lock()

    def start(self, order: shipper.Order) -> None:
        """See ports.shipper.Shipper.start."""
        place = (order.service, order.environment)
        with self._lock:
            if place in self._runs:
                raise errors.ConflictError(
                    f"A pipeline to {order.environment!r} of {order.service!r} runs already.",
                    remedy="Wait for its end.",
                    code=errors.Code.SHIP_UNREADY,
                )
            try:
                self._runs[place] = self._begin(order)
            except OSError as error:
                raise errors.UnavailableError(
                    f"No pipeline can be started: {error.strerror or error}.",
                    remedy="Check the disk and the number of processes; it is tried again.",
                    code=errors.Code.SHIP_UNREADY,
                ) from error

    def ended(self) -> Sequence[shipper.Shipped]:
        """See ports.shipper.Shipper.ended."""
        with self._lock:
            over = [place for place, run in self._runs.items() if run.process.poll() is not None]
            return tuple(_result(self._runs.pop(place), self._log(*place)) for place in over)

    def close(self) -> None:
        """See ports.shipper.Shipper.close."""
        with self._lock:
            runs = list(self._runs.values())
            self._runs.clear()
        for run in runs:
            _signal(run.process, signal.SIGTERM)
        for run in runs:
            try:
                run.process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                _signal(run.process, signal.SIGKILL)
                run.process.wait()
            run.output.close()

    def _begin(self, order: shipper.Order) -> _Run:
        command = [
            *self._program, "ship", order.commit,
            "--env", order.environment,
            "--by", BY,
            "--dir", str(order.checkout),
            "--home", str(self._home),
            "--json",
        ]  # fmt: skip
        path = self._log(order.service, order.environment)
        logs.cap(path)
        log = logs.open_to_append(path)
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its run, turns later
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=log, cwd=self._home, start_new_session=True
            )
        except OSError:
            output.close()
            raise
        finally:
            os.close(log)
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        return _Run(order=order, process=process, output=output)

    def _log(self, service: str, environment: str) -> pathlib.Path:
        return self._logs / f"{service}.{environment}.log"


def _result(run: _Run, log: pathlib.Path) -> shipper.Shipped:
    run.output.seek(0)
    raw = run.output.read()
    run.output.close()
    code = run.process.returncode
    found = _document(raw)
    text = next((str(found[key]) for key in ("error", "text", "reason") if found.get(key)), "")
    if not found or code not in (0, 1, 2, 3, _NEIGHBOUR):
        # A signal, a bug, a program that is just being replaced: no answer about the commit, and another try may go
        # better.
        text, code = text or f"It ended with {code} and said nothing more: see {log.name}.", _NEIGHBOUR
    released = found.get("release")
    return shipper.Shipped(
        order=run.order,
        exit_code=code,
        release=released if isinstance(released, str) and released.startswith("sha256:") else "",
        text=text or f"It ended with exit code {code}: see {log.name}.",
    )


def _document(raw: bytes) -> dict[str, Any]:
    """What it printed: one JSON document."""
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
