"""Labels over the API."""

from __future__ import annotations

from typing import Annotated, Any

import fastapi
import pydantic

from softlaunch.api import access, schemas
from softlaunch.controller.labels import receiving


class Labels(pydantic.BaseModel):
    """Labels of one service."""

    model_config = pydantic.ConfigDict(extra="forbid")

    service: str = pydantic.Field(pattern=schemas.NAME)
    labels: list[dict[str, Any]]
    by: str = "owner"


def add(app: fastapi.FastAPI, *, receiver: receiving.Receiving, guard: access.Access) -> None:
    """Adds POST /v1/labels to the application."""

    @app.post("/v1/labels", status_code=202)
    def receive(
        body: Labels,
        request: fastapi.Request,
        idempotency_key: Annotated[str | None, fastapi.Header(max_length=200)] = None,
    ) -> dict[str, Any]:
        count = receiver.receive(
            body.service, body.labels, by=guard.by(request, body.by), idempotency_key=idempotency_key
        )
        return {"accepted": count}
