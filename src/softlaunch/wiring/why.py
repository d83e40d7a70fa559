"""One prediction, looked up in the log and told with what is known of its release. Heavy libraries, as the log's."""

from __future__ import annotations

from typing import Any

from softlaunch import errors
from softlaunch.adapters.lake import asking
from softlaunch.config import home as homes
from softlaunch.wiring import log_keeping, log_place, prediction_log


def find(home: homes.Home, name: str, service: str | None) -> tuple[str, list[dict[str, Any]]]:
    """
    The service that has a prediction in its log, and the prediction's rows, the one that the user got first.

    Args:
        home: Whose logs.
        name: REQUEST:ROW; a request's id alone stands for its first row.
        service: None: every log is looked through.

    Raises:
        ConfigError: there is no log, or no such prediction.
    """
    head, mark, row = name.rpartition(":")
    full = name if mark and head and row.isdecimal() else f"{name}:0"
    chosen = [prediction_log.chosen(home, service)] if service else log_keeping.services(home)
    for each in chosen:
        rows = asking.by_id(log_place.predictions(home, each), full)
        if rows:
            return each, rows
    where = f"in the log of {', '.join(chosen)}" if chosen else "anywhere: there is no prediction log yet"
    raise errors.ConfigError(
        f"There is no prediction {full!r:.120} {where}.",
        remedy="Ids are REQUEST:ROW, as x-softlaunch-prediction-id has them. A row comes up to half a minute after its "
        "answer (`softlaunch log status`), and goes with its day when SOFTLAUNCH_LOG_KEEP says so.",
        code=errors.Code.NOT_IN_LOG,
    )
