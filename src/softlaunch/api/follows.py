"""Routes of following repositories."""

from __future__ import annotations

from typing import Any

import fastapi
import pydantic

from softlaunch.api import access, schemas
from softlaunch.controller import follow_state, follow_views, following
from softlaunch.core import gitops

EVERY_SECONDS_MIN = 1.0


class Follow(pydantic.BaseModel):
    """What is to be followed, and how."""

    model_config = pydantic.ConfigDict(extra="forbid")

    service: str = pydantic.Field(pattern=schemas.NAME)
    url: str = pydantic.Field(max_length=2_000)
    folder: str = pydantic.Field(default="", max_length=500, pattern=r"^([^/\x00-\x1f:][^\x00-\x1f:]*)?$")
    every_seconds: float = pydantic.Field(default=10.0, ge=EVERY_SECONDS_MIN, le=86_400.0)
    on_rollback: gitops.OnRollback = gitops.OnRollback.REVERT
    require_signed_commits: bool = False
    update_lock: str = pydantic.Field(default="", max_length=250, pattern=r"^([^-\s~^:?*\[\\][^\s~^:?*\[\\]*)?$")
    lock_every_seconds: float = pydantic.Field(default=300.0, ge=EVERY_SECONDS_MIN, le=86_400.0)
    by: str = ""

    @pydantic.field_validator("folder")
    @classmethod
    def _inside(cls, folder: str) -> str:
        if ".." in folder.split("/"):
            raise ValueError("leads out of the repository")
        return folder


class Sync(pydantic.BaseModel):
    """Which, and a commit that is followed all the same."""

    model_config = pydantic.ConfigDict(extra="forbid")

    service: str | None = None
    accept: str = ""


def add(app: fastapi.FastAPI, *, source: following.Following, guard: access.Access, now: Any) -> None:
    """
    Adds the routes to the application.

    Args:
        app: The application.
        source: What follows.
        guard: Tells who asks.
        now: Unix seconds.
    """

    @app.get("/v1/follows")
    def listed() -> list[dict[str, Any]]:
        return follow_views.follows(source)

    @app.post("/v1/follows", status_code=201)
    def follow(body: Follow, request: fastapi.Request) -> dict[str, Any]:
        source.put(
            follow_state.Follow(**{**body.model_dump(), "by": guard.by(request, body.by), "since": now()}),
        )
        return {"service": body.service}

    @app.post("/v1/follows/sync")
    def sync(body: Sync) -> dict[str, Any]:
        return {"services": source.sync(body.service, accept=body.accept)}

    @app.post("/v1/follows/{service}/remove")
    def remove(service: str) -> dict[str, Any]:
        source.remove(service)
        return {"service": service}
