"""
The model server's composition root: one process that serves one release on one Unix socket.

It is live at once and ready when the model is loaded and has answered the smoke rows. Exit codes: 0 after SIGTERM with
every accepted request answered, 1 otherwise, with one line on stderr that says why.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from softlaunch import errors
from softlaunch.core import predictions
from softlaunch.serving import app as app_module
from softlaunch.serving import batching, faults, listener, meter, model_thread, rows_codec, segments, settings, unpacked
from softlaunch.serving import capture as capturing
from softlaunch.serving.runtimes import model


def run(chosen: settings.Settings) -> NoReturn:
    """Serves until SIGTERM or a failure; never returns."""
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
    found = unpacked.read(chosen.release, chosen.socket)
    capture = _capture(found, chosen)
    try:
        return await _serve_found(found, chosen, capture)
    finally:
        if capture is not None:
            capture.close()


async def _serve_found(found: unpacked.Unpacked, chosen: settings.Settings, capture: capturing.Capture | None) -> int:
    app = app_module.App(
        service=found.content.service,
        version=found.version,
        instance=chosen.instance,
        body_bytes_max=chosen.body_bytes_max,
        capture=capture,
        tells_service_time=chosen.tell_service_time,
    )
    app.meter.watch()
    planted = faults.read(found)
    faulty = None if planted is None else faults.FaultyApp(app, planted, found.version)
    server = listener.Listener(faulty or app, chosen.socket)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    serving = loop.create_task(server.serve())
    loading = loop.create_task(_load(found, app, chosen, faulty))
    stopped = loop.create_task(stopping.wait())
    try:
        await asyncio.wait({serving, loading, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
            raise errors.InvariantError("The HTTP server ended by itself.")
    finally:
        app.phase = app_module.Phase.DRAINING
        server.withdraw()
    return await listener.drain(app, server, serving, chosen.grace_seconds)


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
    return capturing.Capture(writer, release=found.version, instance=chosen.instance, percent=chosen.capture_percent)


async def _load(
    found: unpacked.Unpacked, app: app_module.App, chosen: settings.Settings, faulty: faults.FaultyApp | None
) -> None:
    thread = model_thread.ModelThread()
    loaded = await thread.run(lambda: unpacked.load_model(found, thread_count=chosen.threads))
    signature = predictions.narrowed(found.content.signature, loaded.float32_names)
    rows = unpacked.smoke_rows(found, signature)
    if rows:
        await thread.run(lambda: _warm(loaded, rows))

    cpu_clock = meter.cpu_clock(chosen.threads)

    def loaded_with(answer: faults.Answer) -> app_module.Loaded:
        return app_module.Loaded(
            batcher=batching.Batcher(
                answer,
                signature.outputs,
                thread=thread,
                batch_rows_max=chosen.batch_rows_max,
                queue_rows_max=chosen.queue_rows_max,
                cpu_clock=cpu_clock,
            ),
            codec=rows_codec.RowsCodec(signature, found.version),
            signature=signature,
            declared=found.content.signature,
            platform=loaded.platform,
        )

    if faulty is not None:
        await faulty.prepare(loaded_with, loaded.answer)
    app.loaded = loaded_with(loaded.answer)
    gc.collect()
    gc.freeze()  # what the model and the libraries made stays: later collections need not walk it again
    if app.phase is app_module.Phase.LOADING:
        app.phase = app_module.Phase.READY


def _warm(loaded: model.Model, rows: Sequence[predictions.Row]) -> None:
    """
    One call with the smoke rows. When it raises, row by row: a model that answers some rows is ready.

    What it answers is not judged here: that is the rollout's business, which has evidence and a stable release.
    """
    try:
        loaded.answer(rows)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the user's code: anything can come out
        sys.stderr.write(f"softlaunch.serving: the smoke rows raised {model.one_line(error)}\n")
    else:
        return
    raised: BaseException | None = None
    for row in rows:
        try:
            loaded.answer([row])
        except (Exception, SystemExit) as error:  # noqa: BLE001  # as above
            raised = error
        else:
            return
    raise model.unloadable(
        f"The model raised on every one of its {len(rows)} smoke rows (last: {model.one_line(raised or Exception())}).",
        remedy="Fix the model, or its signature, and build the release again.",
    ) from raised
