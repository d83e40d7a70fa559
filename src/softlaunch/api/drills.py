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
    percent: Annotated[float, pydantic.Field(gt=0, lt=100)] | None = None
    """None: what suits the fault."""
    by: str
    production: bool = False
    enforce: bool = False


def add(app: fastapi.FastAPI, *, drill: drilling.Drilling, guard: access.Access) -> None:
    """Adds the routes of drills to the application."""

    @app.post("/v1/services/{service}/{environment}/drill", status_code=201)
    def start(service: str, environment: str, body: Drill, request: fastapi.Request) -> dict[str, Any]:
        planted = drills.fault(body.fault, body.parameters)
        percent = drills.load_of(planted.name).percent if body.percent is None else body.percent
        done = drill.start(
            service=service,
            environment=environment,
            planted=planted,
            weight=units.weight_from_percent(percent),
            by=guard.by(request, body.by),
            production=body.production,
            enforce=body.enforce,
        )
        return {"rollout_id": done.rollout_id, "text": done.text}

    @app.get("/v1/services/{service}/{environment}/material")
    def material(service: str, environment: str, *, production: bool = False) -> dict[str, Any]:
        return drill.material(service=service, environment=environment, production=production)
