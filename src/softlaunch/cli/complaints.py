"""Commands for what customers say about predictions."""

from __future__ import annotations

from typing import Annotated, Any

import rich.markup
import rich.table
import typer

from softlaunch.cli import client, launch, live, options, output
from softlaunch.config import home as homes
from softlaunch.core import units

_ROLES = {"live": "live now", "previous": "live before", "candidate": "being launched"}


def report(
    prediction: Annotated[str, typer.Argument(help="Id of the request, or ID:ROW of a request with many rows.")],
    text: Annotated[str, typer.Argument(help="What is wrong with the prediction.")],
    *,
    ticket: Annotated[str, typer.Option(help="The ticket's own id: told twice, it is one complaint.")] = "",
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Say that a prediction was wrong. Complaints are grouped by the release that made them.

    Examples:

        softlaunch report 7d1e0c52-6c1f-4b5e-9f0e-2f1f6f0a3c11 "30 hours for a two hour flight"
        softlaunch report 7d1e0c52-6c1f-4b5e-9f0e-2f1f6f0a3c11:4 "negative price" --ticket SUP-812
    """
    body = {
        "prediction": prediction,
        "text": text,
        "by": launch.who(),
        "source": "cli",
        "service": service,
        "environment": environment,
        "ticket": ticket,
    }
    told = client.Client(homes.Home.locate(home)).post("/v1/complaints", body)
    if as_json:
        output.document(told)
        return
    complaint = told["complaint"]
    where = f"{complaint['service']} in {complaint['environment']}"
    if not told["new"]:
        output.plain(f"Ticket {ticket} was told before; it stays one complaint.")
    elif complaint["release"]:
        output.plain(f"Noted for {complaint['release']} of {where}. `softlaunch complaints` shows all.")
    else:
        output.plain(f"Noted for {where}; which release made it is not in the records.")


def complaints(
    *,
    since: Annotated[str, typer.Option(help="How far back: 30m, 24h, 7d.")] = "24h",
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Complaints by release. Names the command that goes back when the release that serves has clearly more than before.

    Examples:

        softlaunch complaints
        softlaunch complaints --since 7d --env production --json
    """
    control = client.Client(homes.Home.locate(home))
    found = control.get(
        "/v1/complaints", since_seconds=units.duration_seconds(since), service=service, environment=environment
    )
    if as_json:
        output.document(found)
        return
    if not found["places"]:
        output.plain(f"No complaints in the last {since}.")
    for place in found["places"]:
        _show(place, [each for each in found["complaints"] if _in(each, place)])


def _show(place: dict[str, Any], latest: list[dict[str, Any]]) -> None:
    output.text(f"[bold]{place['service']}[/] in [bold]{place['environment']}[/]")
    table = rich.table.Table(box=None, pad_edge=False)
    for heading in ("  release", "", "complaints", "last", "what was said last"):
        table.add_column(heading, overflow="fold")
    for group in place["groups"]:
        said = next((each["text"] for each in latest if each["release"] == group["release"]), "")
        table.add_row(
            f"  {group['release'] or 'unknown'}",
            _ROLES.get(group["role"], ""),
            str(group["count"]),
            live.day(group["last_at"]),
            rich.markup.escape(said),
        )
    output.CONSOLE.print(table)
    if place["offer"]:
        output.text(f"  [yellow]{rich.markup.escape(place['offer']['text'])}[/] That is clearly more. To go back:")
        output.plain(f"    {place['offer']['command']}")


def _in(complaint: dict[str, Any], place: dict[str, Any]) -> bool:
    return all(complaint[key] == place[key] for key in ("service", "environment"))
