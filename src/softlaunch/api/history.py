"""The route of what was live at a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import fastapi

from softlaunch.controller import history
from softlaunch.ports import store as stores


def add(app: fastapi.FastAPI, *, store: stores.Store, now: Callable[[], float]) -> None:
    """Adds what `softlaunch history --at` asks for."""

    @app.get("/v1/history")
    def at(
        at: Annotated[float, fastapi.Query(ge=0, le=1e11)],
        service: str | None = None,
        environment: str | None = None,
    ) -> dict[str, Any]:
        found = history.at(store, at, now=now(), service=service, environment=environment)
        return {"at": at, "places": [each.document() for each in found]}
