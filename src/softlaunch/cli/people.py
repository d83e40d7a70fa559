"""Commands for what people decide: approvals, second tries, pins, and who may ask for any of it."""

from __future__ import annotations

import pathlib
import time
from typing import Annotated

import rich.table
import typer

from softlaunch.cli import client, launch, live, options, output, places
from softlaunch.config import home as homes
from softlaunch.controller import hook_secret
from softlaunch.controller import people as everybody

TOKEN = typer.Typer(help="Named tokens: who may use the control plane under a name of their own.", no_args_is_help=True)
WEBHOOK = typer.Typer(help="Webhooks: what other programs may ask for, signed.", no_args_is_help=True)


def approve(
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Let a rollout that waits for approval go on.

    You approve as the owner of the home, or as the person whose token is in SOFTLAUNCH_TOKEN. A step may say who may.

    Examples:

        softlaunch approve
        softlaunch approve --reason "looked at the shadow's answers" --env production
    """
    launch.operate("approve", home, service, environment, as_json=as_json, reason=reason)


def retry(
    *,
    lift: Annotated[
        str | None, typer.Option("--lift", metavar="REASON", help="Lift the release's pin, for this reason.")
    ] = None,
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Launch the release that was taken back last once more, by the same plan. Exits 1 when it is taken back again.

    Examples:

        softlaunch retry --lift "the feed was down, not the model"
        softlaunch retry --env production --json
    """
    control = client.Client(homes.Home.locate(home))
    found = places.pick(control, service=service, environment=environment, running=False)
    body = {"by": launch.who(), "lift_reason": lift}
    done = control.post(f"/v1/services/{found[0]}/{found[1]}/retry", body)
    if done["rollout_id"] is None:
        launch.unchanged(done["text"], as_json=as_json)
        return
    view = live.follow(control, done["rollout_id"], quiet=as_json, until=live.decided)
    launch.close(view, as_json=as_json)


def pins(
    *,
    lifted: Annotated[bool, typer.Option("--all", help="Those that were lifted, too.")] = False,
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Releases that must not be launched again until somebody lifts their pin.

    Examples:

        softlaunch pins
        softlaunch pins --all --env production --json
    """
    control = client.Client(homes.Home.locate(home))
    place = places.pick(control, service=service, environment=environment, running=False)
    found = control.get(f"/v1/services/{place[0]}/{place[1]}/pins")
    found = [pin for pin in found if lifted or pin["lifted_at"] is None]
    if as_json:
        output.document(found)
        return
    if not found:
        output.plain(f"Nothing of {place[0]} is pinned in {place[1]}.")
        return
    table = rich.table.Table(box=None, pad_edge=False)
    for heading in ("release", "commit", "since", "by", "why", *(("lifted",) if lifted else ())):
        table.add_column(heading, overflow="fold")
    for pin in found:
        cells = [
            pin.get("arm") or live.short(pin["release"]),
            pin["commit"][:12],
            live.day(pin["at"]),
            pin["by"],
            pin["reason"],
        ]
        if lifted:
            cells.append(_lifting(pin))
        table.add_row(*(rich.markup.escape(cell) for cell in cells))
    output.CONSOLE.print(table)


def unpin(
    release: Annotated[
        str, typer.Argument(help="Digest or its beginning, commit, tag, branch, or HEAD~1 and the like.")
    ],
    *,
    reason: Annotated[str, typer.Option(help="What has changed; kept with the pin.")],
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Allow a pinned release to be launched again.

    Examples:

        softlaunch unpin 3f2a91c0b1d2 --reason "the feed was down, not the model"
        softlaunch unpin v2 --reason "checked by hand" --env production
    """
    located = homes.Home.locate(home)
    control = client.Client(located)
    place = places.pick(control, service=service, environment=environment, running=False)
    from softlaunch.wiring import recordings  # noqa: PLC0415 - half a second of imports few commands need

    named = recordings.known_as(located, release, service=place[0], directory=pathlib.Path.cwd())
    body = {"by": launch.who(), "release": named, "reason": reason}
    pin = control.post(f"/v1/services/{place[0]}/{place[1]}/unpin", body)
    if as_json:
        output.document(pin)
    else:
        output.plain(f"{pin.get('arm') or live.short(pin['release'])} may be launched in {place[1]} again.")


@TOKEN.command("add")
def token_add(
    name: Annotated[str, typer.Argument(help="The person's name, as histories and approval steps use it.")],
    *,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Make a person a token. It is shown this once; only its SHA-256 is kept.

    Examples:

        softlaunch token add ann
    """
    place = _place(home)
    made = everybody.People(place.people_file).add(name, now=time.time())
    if as_json:
        output.document({"name": name, "token": made})
        return
    output.plain(made)
    output.plain(f"This is {name}'s token; it is not shown again. To use it: SOFTLAUNCH_TOKEN=... softlaunch approve")


@TOKEN.command("list")
def token_list(*, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    Who has a token.

    Examples:

        softlaunch token list
        softlaunch token list --json
    """
    found = everybody.People(homes.Home.locate(home).people_file).everybody()
    if as_json:
        output.document([{"name": person.name, "created_at": person.created_at} for person in found])
        return
    if not found:
        output.plain("Nobody has a token: `softlaunch token add NAME` makes one.")
    for person in found:
        output.plain(f"{person.name}  since {live.day(person.created_at)}")


@TOKEN.command("remove")
def token_remove(
    name: Annotated[str, typer.Argument(help="The person's name.")],
    *,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Take a person's token away, from the next request on.

    Examples:

        softlaunch token remove ann
    """
    everybody.People(_place(home).people_file).remove(name)
    if as_json:
        output.document({"removed": name})
    else:
        output.plain(f"{name}'s token is worth nothing any more.")


@WEBHOOK.command("secret")
def webhook_secret(
    *,
    rotate: Annotated[bool, typer.Option("--rotate", help="Make another; the old one stops working at once.")] = False,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Make the secret that webhooks are signed with, and turn them on. It is shown this once.

    Examples:

        softlaunch webhook secret
        softlaunch webhook secret --rotate
    """
    made = hook_secret.HookSecret(_place(home).hook_file).make(rotate=rotate)
    if as_json:
        output.document({"secret": made})
    else:
        output.plain(made)
        output.plain("Webhooks are on, signed with this secret; it is not shown again.")


def _place(home: pathlib.Path | None) -> homes.Home:
    """The home, made if it is not there: tokens may be given before the first `up`."""
    place = homes.Home.locate(home)
    place.prepare()
    return place


def _lifting(pin: dict[str, object]) -> str:
    if pin["lifted_at"] is None:
        return "-"
    return f"{live.day(float(str(pin['lifted_at'])))} by {pin['lifted_by']}: {pin['lifted_reason']}"
