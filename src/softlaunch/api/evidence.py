"""The route of archived evidence."""

from __future__ import annotations

from typing import Any

import fastapi

from softlaunch import errors
from softlaunch.controller import rejudge
from softlaunch.ports import store as stores


def add(app: fastapi.FastAPI, *, store: stores.Store) -> None:
    """Adds what `softlaunch rejudge` asks for: the judge's state and report, and the place of both in the archive."""

    @app.get("/v1/rollouts/{number}/evidence")
    def evidence(number: int) -> dict[str, Any]:
        record = store.rollout(number)  # of the store: what is in memory may be ahead of its archive
        if record is None:
            raise errors.ConfigError(
                f"There is no rollout {number}.",
                remedy="`softlaunch history` lists all of them.",
                code=errors.Code.NO_ROLLOUT,
            )
        return rejudge.Kept.of(record).document()
