"""Routes of fire drills."""

from __future__ import annotations

from typing import Annotated, Any

import fastapi
import pydantic

from softlaunch.api import access
from softlaunch.controller import drilling
from softlaunch.core import drills, units


class Drill(pydantic.BaseModel):
    """A fault to plant, and how many users may meet it."""

    model_config = pydantic.ConfigDict(extra="forbid")

    fault: str
    parameters: dict[str, float] = {}
    percent: Annotated[float, pydantic.Field(gt=0, lt=100)] = 10.0
    by: str
    production: bool = False


def add(app: fastapi.FastAPI, *, drill: drilling.Drilling, guard: access.Access) -> None:
    """Adds the routes of drills to the application."""

    @app.post("/v1/services/{service}/{environment}/drill", status_code=201)
    def start(service: str, environment: str, body: Drill, request: fastapi.Request) -> dict[str, Any]:
        done = drill.start(
            service=service,
            environment=environment,
            planted=drills.fault(body.fault, body.parameters),
            weight=units.weight_from_percent(body.percent),
            by=guard.by(request, body.by),
            production=body.production,
        )
        return {"rollout_id": done.rollout_id, "text": done.text}

    @app.get("/v1/services/{service}/{environment}/material")
    def material(service: str, environment: str) -> dict[str, Any]:
        return drill.material(service=service, environment=environment)
