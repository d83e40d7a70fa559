"""
What the shipper tells of itself while it runs, for `softlaunch log status`: a small document beside the sockets.

Not beside the log, which may be what cannot be written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from softlaunch.config import home as homes
from softlaunch.controller.prediction_log import outages

_NAME = "prediction-log.json"


class Note:
    """
    Of a running shipper; removed when it ends as it should.

    Args:
        home: Whose.
    """

    def __init__(self, home: homes.Home) -> None:
        self._path = home.run / _NAME
        self.tell({})

    def tell(self, found: Mapping[str, outages.Outage]) -> None:
        document = {
            "pid": os.getpid(),
            "outages": {service: dataclasses.asdict(outage) for service, outage in found.items()},
        }
        unfinished = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # then status says less
            unfinished.write_text(json.dumps(document))
            unfinished.replace(self._path)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)


def read(home: homes.Home) -> dict[str, dict[str, Any]] | None:
    """By service, what keeps its log from being written; None when nobody writes any."""
    try:
        document = json.loads((home.run / _NAME).read_bytes())
        os.kill(document["pid"], 0)
        found: dict[str, dict[str, Any]] = document["outages"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found
