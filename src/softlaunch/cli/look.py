"""Commands that look and change nothing."""

from __future__ import annotations

import time
from typing import Annotated, Any

import rich.markup
import rich.table
import typer

from softlaunch.cli import client, live, moments, options, output
from softlaunch.config import home as homes


def status(*, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    What is live where, and what is being launched.

    Examples:

        softlaunch status
        softlaunch status --json | jq '.services[].stable'
    """
    found = client.Client(homes.Home.locate(home)).get("/v1/status")
    if as_json:
        output.document(found)
        return
    if not found["services"]:
        output.plain("Nothing is live yet. In a service's folder: `softlaunch deploy`.")
        return
    table = rich.table.Table(box=None, pad_edge=False)
    for heading in ("service", "environment", "stable", "rollout", "replicas", "address"):
        table.add_column(heading)
    for entry in found["services"]:
        table.add_row(
            entry["service"],
            entry["environment"],
            entry["stable_arm"] or "-",
            _rollout(entry["rollout"]),
            _replicas(entry["replicas"]),
            entry["url"],
        )
    output.CONSOLE.print(table)


def history(
    *,
    service: options.Service = None,
    environment: options.Environment = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="What was live then: 2026-11-23T14:30, '90m ago'.")
    ] = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Every launch, newest first: what, where, who, how it ended and why. With --at: what was live at that moment.

    Examples:

        softlaunch history
        softlaunch history --env production --limit 5 --json
        softlaunch history --at 2026-11-23T14:30
        softlaunch history --at '90m ago' --env production
    """
    control = client.Client(homes.Home.locate(home))
    if at is not None:
        moment = moments.parse(at, now=time.time())
        then = control.get("/v1/history", at=moment, service=service, environment=environment)
        if as_json:
            output.document(then)
        else:
            moments.show(then)
        return
    found = control.get("/v1/rollouts", service=service, environment=environment, limit=limit)
    if as_json:
        output.document(found)
        return
    if not found:
        output.plain("No launches yet.")
        return
    table = rich.table.Table(box=None, pad_edge=False)
    for heading in ("id", "when", "service", "environment", "release", "asked for", "by", "outcome", "why"):
        table.add_column(heading, overflow="fold")
    for view in found:
        table.add_row(
            str(view["id"]),
            live.day(view["created_at"]),
            view["service"],
            view["environment"],
            view["candidate_arm"],
            ", with ".join(filter(None, (view["ref"], live.settings(view["settings_changed"])))),
            view["requested_by"],
            live.standing(view),
            view["reason"],
        )
    output.CONSOLE.print(table)


def _rollout(view: dict[str, Any] | None) -> str:
    if view is None:
        return "-"
    follows = f", then {view['successor']['arm']}" if view["successor"] else ""
    doing = view["progress"] or live.routing(view)
    return f"{view['candidate_arm']} {live.standing(view)} {rich.markup.escape(doing)}{follows}"


def _replicas(found: list[dict[str, Any]]) -> str:
    ready = sum(1 for entry in found if entry["phase"] == "ready")
    return f"{ready}/{len(found)} ready"
