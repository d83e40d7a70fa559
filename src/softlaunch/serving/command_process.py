"""
A command behind the supervisor's socket: this process starts it, asks whether it is ready, hands requests on, ends it.

When the command ends by itself, so does this process, and the supervisor starts both again.
"""

from __future__ import annotations

from softlaunch import errors
from softlaunch.serving import (
    asgi_guard,
    asgi_process,
    command_child,
    command_proxy,
    listener,
    settings,
    unpacked,
)
from softlaunch.serving import capture as capturing


async def serve(found: unpacked.Unpacked, chosen: settings.Settings, capture: capturing.Capture | None) -> int:
    """Serves a command until SIGTERM; 0 when every accepted request was answered."""
    if not found.content.command:
        raise errors.InvariantError("A release of runtime command names no command.")
    listener.check(chosen.socket)
    child = command_child.Child(found.content.command, found.directory / "code")
    try:
        proxy = command_proxy.Proxy(child.port)
        counters = command_child.TreeMeter(child.pid)
        counters.watch()

        async def ready() -> str:
            counters.sample()  # what was seen while the program was still being loaded is no measure of it
            return await proxy.ready(found.content.ready_path)

        guard = asgi_guard.Guard(
            proxy,
            asgi_process.rules(found, chosen),
            ready=ready,
            capture=capture,
            counters=counters,
            cpu_clock=counters.cpu_ns,
        )

        async def end(seconds: float) -> None:
            await proxy.close()
            await child.end(seconds)

        return await asgi_process.serve_guard(guard, chosen, start=_started, end=end, watch=child.ended)
    finally:
        child.kill()


async def _started() -> None:
    """It has been started already; when it can answer, the probes find out."""
