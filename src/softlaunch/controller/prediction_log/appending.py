"""One batch into the lake: whole, or without the values that the lake refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import structlog

from softlaunch.controller.prediction_log import decoding, unfit
from softlaunch.core.prediction_log import progress
from softlaunch.ports import lake as lakes

LOG = structlog.get_logger()


def append(
    lake: lakes.Lake, service: str, environment: str, blocks: Sequence[lakes.Block], after: progress.Progress
) -> lakes.TableState:
    """
    The table afterwards.

    Raises:
        ConflictError: a field became another type meanwhile.
        UnavailableError: it cannot be written now.
    """
    try:
        return lake.append(service, blocks, environment=environment, progress=after)
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
            return lake.append(service, mended, environment=environment, progress=told)
        except unfit.REFUSALS as error:
            refused = error
    raise refused
