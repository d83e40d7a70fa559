"""
Somebody's own HTTP code behind the supervisor's socket: what ASGI apps and commands have in common, and ASGI apps.

    start    the app is imported before the socket opens; then the socket answers "not ready" while the app starts up
    ready    its startup is over, and its ready path, if it names one, answers 2xx; asked again at every probe
    drain    requests in flight end, then the app's shutdown runs
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

from softlaunch import errors
from softlaunch.core import release
from softlaunch.serving import (
    asgi_answers,
    asgi_guard,
    asgi_target,
    listener,
    meter,
    readiness,
    settings,
    unpacked,
)
from softlaunch.serving import capture as capturing

_END_SECONDS_MIN = 2.0
"""Of the grace, what is kept for the app's own end; a guess."""


async def serve(found: unpacked.Unpacked, chosen: settings.Settings, capture: capturing.Capture | None) -> int:
    """Serves an ASGI app until SIGTERM; 0 when every accepted request was answered."""
    target = found.content.python_target
    if target is None:
        raise errors.InvariantError("A release of runtime asgi names no app.")
    listener.check(chosen.socket)  # before an import that may take a minute
    app = asgi_target.load(target, found.directory / "code")
    lifespan = asgi_target.Lifespan(app)

    async def ready() -> str:
        return await _ask(app, lifespan, found.content.ready_path) if found.content.ready_path else ""

    counters = meter.Meter()
    counters.watch()
    guard = asgi_guard.Guard(
        app,
        rules(found, chosen),
        ready=ready,
        capture=capture,
        counters=counters,
        cpu_clock=time.process_time_ns,
    )

    async def start() -> None:
        guard.waiting_for = "its startup has not ended"
        await lifespan.startup()
        guard.state = lifespan.state

    return await serve_guard(guard, chosen, start, end=lifespan.shutdown)


def rules(found: unpacked.Unpacked, chosen: settings.Settings) -> asgi_answers.Rules:
    """What is asked of the requests of this process."""
    if found.content.runtime not in (release.Runtime.ASGI, release.Runtime.COMMAND):
        raise errors.InvariantError(f"A release of runtime {found.content.runtime} is no app.")
    return asgi_answers.Rules(
        version=found.version,
        instance=chosen.instance,
        paths=chosen.predict_paths,
        checks=found.content.answers,
        body_bytes_max=chosen.body_bytes_max,
        tells_service_time=chosen.tell_service_time,
    )


async def serve_guard(
    guard: asgi_guard.Guard,
    chosen: settings.Settings,
    start: Callable[[], Awaitable[None]],
    *,
    end: Callable[[float], Awaitable[None]],
    watch: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """
    Serves until SIGTERM, then answers what was accepted; 0 when all of it was.

    Args:
        guard: What is served; made ready once `start` has returned.
        chosen: Socket and grace.
        start: Makes the app ready to answer; what it raises ends the process.
        end: Ends the app once it owes nobody an answer; is given the seconds it may take.
        watch: Runs beside from the beginning; returns never, and raises when the app cannot answer any more.
    """
    server = listener.Listener(guard, chosen.socket, asgi=True)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    serving = loop.create_task(server.serve())
    tasks: set[asyncio.Future[Any]] = {serving, loop.create_task(stopping.wait())}
    tasks |= {asyncio.ensure_future(watch())} if watch is not None else set()
    starting = asyncio.ensure_future(start())
    try:
        await asyncio.wait({*tasks, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            guard.phase = readiness.Phase.READY
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
        if serving.done():
            raise errors.InvariantError("The HTTP server ended by itself.")
    finally:
        guard.phase = readiness.Phase.DRAINING
        server.withdraw()
    began = loop.time()
    code = await listener.drain(guard, server, serving, max(0.0, chosen.grace_seconds - _END_SECONDS_MIN))
    await end(chosen.grace_seconds - (loop.time() - began))
    return code


async def _ask(app: asgi_target.Application, lifespan: asgi_target.Lifespan, path: str) -> str:
    """Why the app's ready path does not say that it is ready; empty when it does."""
    bare, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": bare,
        "raw_path": bare.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"user-agent", b"softlaunch")],
        "client": ("127.0.0.1", 0),
        "server": ("localhost", 80),
        "state": dict(lifespan.state),
    }
    asked = False
    said: list[int] = []

    async def receive() -> asgi_target.Message:
        nonlocal asked
        if asked:
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: asgi_target.Message) -> None:
        if message["type"] == "http.response.start":
            said.append(message["status"])

    await app(scope, receive, send)
    if said and 200 <= said[0] < 300:
        return ""
    return f"its ready path {path} answers {said[0] if said else 'nothing'}"
