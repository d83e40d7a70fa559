"""
The faults of a drill release (core.drills), for real: between granian and the application, and around the model.

Nothing here pretends. NaN goes the way every invalid answer goes, memory is touched, the processor is busy, the process
ends. What does not meet the fault (health checks, metadata, smoke requests unless asked) is answered as ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import math
import os
import pathlib
import socket
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from softlaunch import errors
from softlaunch.core import drills, predictions, release
from softlaunch.serving import app as app_module
from softlaunch.serving import grpc_endpoint, readiness, replies, unpacked

_GRPC_PATH = f"{grpc_endpoint.PREFIX}ModelInfer"
_GATEWAY_HEADER = "x-request-id"
"""The gateway gives every request one; smoke requests, sent past it, have none."""
_MODEL_FAULTS = frozenset({drills.FaultName.NAN, drills.FaultName.WRONG_SCHEMA, drills.FaultName.CPU_BURN})

Answer: TypeAlias = Callable[[Sequence[predictions.Row]], Mapping[str, Any]]
"""A model's call."""


def read(found: unpacked.Unpacked) -> drills.Fault | None:
    """
    The fault of a drill release; None for any other.

    Raises:
        ConfigError: release.json and drill.json do not say the same, or drill.json cannot be read.
    """
    path = found.directory / drills.FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raw = None
    planted = None if raw is None else drills.load(raw)
    named = None if planted is None else planted.name.value
    if named != found.content.drill:
        raise errors.ConfigError(
            f"release.json speaks of the drill {found.content.drill!r}, {drills.FILE} of {named!r}.",
            remedy="Start the drill again: a drill release is made by `softlaunch drill` alone.",
            code=errors.Code.RELEASE_UNREADABLE,
        )
    return planted


class FaultyApp:
    """
    The application with a fault in it.

    Args:
        app: What answers when the fault does not strike; `in_flight` and `phase` stay its own.
        planted: The fault.
        version: DIGEST12.
    """

    def __init__(self, app: app_module.App, planted: drills.Fault, version: str) -> None:
        self._app = app
        self._fault = planted
        self._headers = [("content-type", "application/json"), ("x-softlaunch-release", version)]
        self._twin: app_module.App | None = None
        self._share = 0.0
        self._met = 0
        self._kept: list[bytes] = []

    async def prepare(self, loaded_with: Callable[[Answer], readiness.Loaded], answer: Answer) -> None:
        """
        To be awaited once the model is loaded, before it is ready.

        Args:
            loaded_with: Makes what the application needs around a model's call.
            answer: The model's own call.
        """
        if self._fault.name is drills.FaultName.SLOW_START:
            await asyncio.sleep(self._fault.values["seconds"])
        if self._fault.name in _MODEL_FAULTS:
            loaded = loaded_with(answer)
            self._twin = copy.copy(self._app)
            self._twin.loaded = loaded_with(_spoiled(self._fault, loaded.signature.outputs, answer))

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        if not self._strikes(scope):
            await self._app.__rsgi__(scope, proto)
            return
        self._met += 1
        self._app.in_flight += 1
        try:
            await self._strike(scope, proto)
        finally:
            self._app.in_flight -= 1

    def _strikes(self, scope: Any) -> bool:
        path = scope.path
        infers = path == _GRPC_PATH or (path.startswith("/v2/") and path.endswith("/infer"))
        if scope.method != "POST" or not (path == "/predict" or infers):
            return False
        if not self._fault.smoke and scope.headers.get(_GATEWAY_HEADER) is None:
            return False
        # Evenly spaced instead of drawn: 5 % is every twentieth request, also in a short drill.
        self._share += self._fault.values.get("percent", 100.0)
        if self._share < 100.0:
            return False
        self._share -= 100.0
        return True

    async def _strike(self, scope: Any, proto: Any) -> None:
        values = self._fault.values
        match self._fault.name:
            case drills.FaultName.ERRORS_5XX:
                await proto()
                reply = replies.document(
                    503,
                    {"error": "This release is broken on purpose.", "remedy": "Nothing: a drill runs."},
                )
                proto.response_bytes(reply.status, self._headers, reply.body)
                return
            case drills.FaultName.RESETS:
                _cut_connections()
                proto.response_empty(499, self._headers)  # nobody hears it; the protocol wants an end
                return
            case drills.FaultName.HANG:
                await proto.client_disconnect()
                proto.response_empty(499, self._headers)
                return
            case drills.FaultName.LATENCY_TAIL:
                await asyncio.sleep(values["seconds"])
            case drills.FaultName.CRASH_LOOP if self._met >= values["requests"]:
                sys.stderr.write(f"softlaunch.serving: the drill ends this process after {self._met} requests\n")
                sys.stderr.flush()
                os._exit(1)
            case drills.FaultName.MEMORY_LEAK:
                size = int(values["kib"] * 1024)
                if (len(self._kept) + 1) * size <= values["mib_max"] * 2**20:
                    self._kept.append(b"\x01" * size)  # not zeros: those the kernel only promises
        await self._serve(scope, proto)

    async def _serve(self, scope: Any, proto: Any) -> None:
        if self._twin is None:
            await self._app.__rsgi__(scope, proto)
            return
        self._twin.phase = self._app.phase
        await self._twin.__rsgi__(scope, proto)
        self._app.last_request_at = max(self._app.last_request_at, self._twin.last_request_at)


def _spoiled(planted: drills.Fault, outputs: Sequence[release.Column], answer: Answer) -> Answer:
    if planted.name is drills.FaultName.CPU_BURN:
        return lambda rows: _burnt(answer, rows, planted.values["ms"] / 1e3)
    if planted.name is drills.FaultName.NAN:
        # NaN is how a nullable output says that there is none: no fault. Infinity is one everywhere.
        wrong: dict[str, Any] = {column.name: math.inf if column.nullable else math.nan for column in outputs}
    else:
        texts = {column.name: column.datatype is release.Datatype.BYTES for column in outputs}
        wrong = {name: 0 if is_text else "off the schema" for name, is_text in texts.items()}

    def spoiled(rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        answer(rows)
        return {name: [value] * len(rows) for name, value in wrong.items()}

    return spoiled


def _burnt(answer: Answer, rows: Sequence[predictions.Row], seconds: float) -> Mapping[str, Any]:
    found = answer(rows)
    end = time.thread_time() + seconds * len(rows)
    while time.thread_time() < end:
        pass
    return found


def _cut_connections() -> None:
    """
    Shuts every accepted connection of this process.

    granian does not say on which of them a request came. That it takes its neighbours along is what a process that
    dies does, too.
    """
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # names only
        with contextlib.suppress(OSError):  # closed meanwhile
            number = int(name)
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as found:
                listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                # Accepted ones bear the server's path; pairs and connections of ours to others bear none.
                if found.family == socket.AF_UNIX and not listens and _is_path(found.getsockname()):
                    found.shutdown(socket.SHUT_RDWR)


def _is_path(name: Any) -> bool:
    return isinstance(name, str) and pathlib.PurePath(name).is_absolute()
