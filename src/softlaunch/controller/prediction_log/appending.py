"""One batch into the lake: whole, or without the values that the lake refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import structlog

from softlaunch.controller.prediction_log import decoding, profiling, unfit
from softlaunch.core.prediction_log import progress
from softlaunch.ports import lake as lakes

LOG = structlog.get_logger()


def append(
    lake: lakes.Lake,
    service: str,
    environment: str,
    blocks: Sequence[lakes.Block],
    after: progress.Progress,
    *,
    profiler: profiling.Profiler | None = None,
) -> lakes.TableState:
    """
    The table afterwards.

    Args:
        lake: The log.
        service: Whose.
        environment: Which place of it; see ports.segments.environment_of.
        blocks: Rows.
        after: The progress that they make.
        profiler: Counts live profiles; None: nobody does.

    Raises:
        ConflictError: a field became another type meanwhile.
        UnavailableError: it cannot be written now.
    """

    def commit(found: Sequence[lakes.Block], told: progress.Progress) -> lakes.TableState:
        if profiler is None:
            return lake.append(service, found, environment=environment, progress=told)
        told = profiler.prepare(service, environment, found, told)
        state = lake.append(service, found, environment=environment, progress=told)
        profiler.settle(service, environment, state.progress[environment])
        return state

    try:
        return commit(blocks, after)
    except unfit.REFUSALS as error:
        refused: Exception = error
    for mended, row_count in unfit.remedies(blocks):
        LOG.warning(
            "log_refused_values",
            service=service,
            environment=environment,
            rows=row_count,
            error=type(refused).__name__,
        )
        reason = decoding.Unread.VALUE.value
        unread = {**after.unread, reason: after.unread.get(reason, 0) + row_count}
        told = dataclasses.replace(after, unread=unread)
        try:
            return commit(mended, told)
        except unfit.REFUSALS as error:
            refused = error
    raise refused
