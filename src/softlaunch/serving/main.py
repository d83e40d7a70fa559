"""
The model server's composition root: one process that serves one release on one Unix socket, or a port in a container.

It is live at once and ready when the model is loaded and has answered the smoke rows. Exit codes: 0 after SIGTERM with
every accepted request answered, 1 otherwise, with one line on stderr that says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import resource
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from softlaunch import errors
from softlaunch.core import release, spec
from softlaunch.serving import capture as capturing
from softlaunch.serving import privileges, redaction, segments, settings, unpacked


def run(chosen: settings.Settings) -> NoReturn:
    """Serves until SIGTERM or a failure; never returns."""
    _raise_file_limit()
    socket = _path(chosen)
    written = [None if socket is None else socket.absolute().parent, chosen.spool]
    privileges.drop([each for each in written if each is not None])
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(_serve(chosen))
    except errors.SoftlaunchError as error:
        if chosen.debug:
            traceback.print_exc()
        sys.stderr.write(f"softlaunch.serving: {error.code}: {error}\n")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: threads of a model (its own, or a hung call) must not keep a process alive that has said goodbye.
    os._exit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """That of uvloop where it is installed (softlaunch's own environment): half as many requests a second again."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # a release's own environment need not have it
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(chosen: settings.Settings) -> int:
    found = unpacked.read(chosen.release, _path(chosen), chosen.digest)
    capture = _capture(found, chosen)
    try:
        return await _serve_release(found, chosen, capture)
    finally:
        if capture is not None:
            capture.close()


async def _serve_release(found: unpacked.Unpacked, chosen: settings.Settings, capture: capturing.Capture | None) -> int:
    # Imported where they are chosen: an app's environment need not have what a model's batches are made with.
    match found.content.runtime:
        case release.Runtime.ASGI:
            from softlaunch.serving import asgi_process  # noqa: PLC0415

            return await asgi_process.serve(found, chosen, capture)
        case release.Runtime.COMMAND:
            from softlaunch.serving import command_process  # noqa: PLC0415

            return await command_process.serve(found, chosen, capture)
        case _:
            from softlaunch.serving import model_process  # noqa: PLC0415

            return await model_process.serve(found, chosen, capture)


def _path(chosen: settings.Settings) -> pathlib.Path | None:
    return None if isinstance(chosen.socket, settings.Address) else chosen.socket


def _capture(found: unpacked.Unpacked, chosen: settings.Settings) -> capturing.Capture | None:
    if chosen.spool is None:
        return None
    writer = segments.SegmentWriter(
        chosen.spool,
        service=found.content.service,
        environment=chosen.spool.name,
        release=found.version,
        instance=chosen.instance,
        disk_bytes_max=chosen.spool_bytes_max,
    )
    return capturing.Capture(writer, percent=chosen.capture_percent, redactor=_redactor(found, chosen))


def _redactor(found: unpacked.Unpacked, chosen: settings.Settings) -> redaction.Redactor | None:
    if not chosen.redact:
        return None
    signature = found.content.signature
    return redaction.Redactor(
        {name: spec.Redaction(how) for name, how in chosen.redact.items()},
        secret=b"" if chosen.redact_secret is None else chosen.redact_secret.read_bytes(),
        keys=chosen.capture_keys,
        feature_names=[column.name for column in signature.inputs],
    )


def _raise_file_limit() -> None:
    """As many connections as the machine allows: the usual 1,024 is a limit for select(), which nothing here uses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # macOS allows less than its own hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
