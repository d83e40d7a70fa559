"""Complaints over the API."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import fastapi

from softlaunch.api import access, schemas
from softlaunch.controller import complaints
from softlaunch.controller import loop as loops

_DAY = 86_400.0


def add(app: fastapi.FastAPI, *, reports: complaints.Complaints, guard: access.Access, loop: loops.ControlLoop) -> None:
    """Adds GET and POST /v1/complaints to the application."""

    @app.get("/v1/complaints")
    def found(
        service: str | None = None,
        environment: str | None = None,
        since_seconds: Annotated[float, fastapi.Query(gt=0)] = _DAY,
        limit: Annotated[int, fastapi.Query(ge=0, le=1_000)] = 100,
    ) -> dict[str, Any]:
        since = loop.now() - since_seconds
        places = reports.summary(service=service, environment=environment, since=since)
        latest = reports.latest(service=service, environment=environment, since=since, limit=limit)
        return {
            "since": since,
            "places": [dataclasses.asdict(place) for place in places],
            "complaints": [dataclasses.asdict(complaint) for complaint in latest],
        }

    @app.post("/v1/complaints", status_code=201)
    def report(body: schemas.Report, request: fastapi.Request) -> dict[str, Any]:
        told = reports.report(
            prediction=body.prediction,
            text=body.text,
            by=guard.by(request, body.by),
            source=body.source,
            service=body.service,
            environment=body.environment,
            ticket=body.ticket,
        )
        return {"new": told.new, "complaint": dataclasses.asdict(told.complaint)}
