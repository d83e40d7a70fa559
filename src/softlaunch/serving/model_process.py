"""
A release whose model this process loads and calls: the app, its batcher and the model's thread, put together.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence

from softlaunch import errors
from softlaunch.core import predictions
from softlaunch.serving import app as app_module
from softlaunch.serving import (
    batching,
    faults,
    listener,
    meter,
    model_thread,
    readiness,
    rows_codec,
    settings,
    unpacked,
)
from softlaunch.serving import capture as capturing
from softlaunch.serving.features import opening
from softlaunch.serving.runtimes import model


async def serve(found: unpacked.Unpacked, chosen: settings.Settings, capture: capturing.Capture | None) -> int:
    """Serves until SIGTERM; 0 when every accepted request was answered."""
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
        app.phase = readiness.Phase.DRAINING
        server.withdraw()
    return await listener.drain(app, server, serving, chosen.grace_seconds)


async def _load(
    found: unpacked.Unpacked, app: app_module.App, chosen: settings.Settings, faulty: faults.FaultyApp | None
) -> None:
    thread = model_thread.ModelThread()
    loaded = await thread.run(lambda: unpacked.load_model(found, thread_count=chosen.threads))
    signature = predictions.narrowed(found.content.signature, loaded.float32_names)
    rows = unpacked.smoke_rows(found, signature)
    if rows:
        await thread.run(lambda: _warm(loaded, rows))
    lookups = await opening.opened(found, signature, variables=os.environ, smoke_rows=rows)
    accepted = signature if lookups is None else lookups.optional

    cpu_clock = meter.cpu_clock(chosen.threads)
    # A planted fault may sleep, and what several threads compute cannot be told from what the loop does.
    calls_anywhere = model.calls_anywhere(loaded) and chosen.threads == 1 and faulty is None

    def loaded_with(answer: faults.Answer) -> readiness.Loaded:
        return readiness.Loaded(
            batcher=batching.Batcher(
                answer,
                signature.outputs,
                thread=thread,
                batch_rows_max=chosen.batch_rows_max,
                queue_rows_max=chosen.queue_rows_max,
                cpu_clock=cpu_clock,
                cost=model.cost_of(loaded),
                calls_anywhere=calls_anywhere,
            ),
            codec=rows_codec.RowsCodec(accepted, found.version, keys=chosen.capture_keys),
            keys=chosen.capture_keys,
            signature=accepted,
            declared=found.content.signature,
            platform=loaded.platform,
            lookups=lookups,
            examples=tuple(rows[:2]),
        )

    if faulty is not None:
        await faulty.prepare(loaded_with, loaded.answer)
    app.loaded = loaded_with(loaded.answer)
    gc.collect()
    gc.freeze()  # what the model and the libraries made stays: later collections need not walk it again
    if app.phase is readiness.Phase.LOADING:
        app.phase = readiness.Phase.READY


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
