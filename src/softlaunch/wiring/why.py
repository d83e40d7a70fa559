"""One prediction, looked up in the log and told with what is known of its release. Heavy libraries, as the log's."""

from __future__ import annotations

import dataclasses
from typing import Any

from softlaunch import errors
from softlaunch.adapters.lake import asking
from softlaunch.config import home as homes
from softlaunch.wiring import labels, log_keeping, log_place, prediction_log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """A prediction."""

    service: str
    rows: list[dict[str, Any]]
    """Its answers, the one that the user got first."""
    labels: list[dict[str, Any]]
    """What is known of it, a label each, as the view `labelled` tells it."""


def find(home: homes.Home, name: str, service: str | None) -> Found:
    """
    A prediction by its id.

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
        path = log_place.predictions(home, each)
        rows = asking.by_id(path, full)
        if rows:
            known = asking.select(
                path,
                "SELECT * FROM labelled WHERE id = $1 ORDER BY name",
                [full],
                labelled=dataclasses.replace(labels.joined(home, each), only=full),
                holding=full,
            )
            return Found(service=each, rows=rows, labels=known)
    where = f"in the log of {', '.join(chosen)}" if chosen else "anywhere: there is no prediction log yet"
    raise errors.ConfigError(
        f"There is no prediction {full!r:.120} {where}.",
        remedy="Ids are REQUEST:ROW, as x-softlaunch-prediction-id has them. A row comes up to half a minute after its "
        "answer (`softlaunch log status`), and goes with its day when SOFTLAUNCH_LOG_KEEP says so.",
        code=errors.Code.NOT_IN_LOG,
    )
