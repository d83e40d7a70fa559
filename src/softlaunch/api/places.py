"""The route of one place: what a client needs to know to try something as that place would."""

from __future__ import annotations

import dataclasses
from typing import Any

import fastapi

from softlaunch import errors
from softlaunch.controller import loop as loops
from softlaunch.core import spec_json


def add(app: fastapi.FastAPI, *, loop: loops.ControlLoop) -> None:
    """Adds the route: the environment's spec as of the last launch, and what is live there."""

    @app.get("/v1/services/{service}/{environment}")
    def place(service: str, environment: str) -> dict[str, Any]:
        with loop.lock:
            live = loop.ledger.lives.get((service, environment))
        if live is None:
            raise errors.ConfigError(
                f"Nothing of {service!r} is live in {environment!r}.",
                remedy="See `softlaunch status` for what is; start with `softlaunch deploy`.",
                code=errors.Code.NOT_LIVE,
            )
        # Addresses of chats and pagers are keys to them: whoever may look need not have those.
        told = dataclasses.replace(live.spec, notify={})
        return {
            "service": service,
            "environment": environment,
            "stable": live.stable.value if live.stable else None,
            "stable_arm": live.stable.short if live.stable else None,
            "previous": live.previous.value if live.previous else None,
            "spec": spec_json.dump_environment(told).decode(),
        }
