"""Where a release came from and where it went."""

from __future__ import annotations

import os
import pathlib
from typing import Annotated, Any

import typer

from softlaunch import errors
from softlaunch.cli import client, identifying, options, output
from softlaunch.config import home as homes

_EVENTS_MAX = 10_000


def lineage(
    release: Annotated[str, typer.Argument(help="Release: digest, commit, tag or branch.")],
    *,
    dot: Annotated[bool, typer.Option("--dot", help="Print the graph for Graphviz.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the graph as a flowchart of Mermaid.")] = False,
    identity: identifying.Subject = None,
    identity_regexp: identifying.Pattern = None,
    issuer: identifying.Issuer = None,
    trusted_root: identifying.TrustedRoot = None,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Where a release came from, who looked at it, and where it went: data, code, model, tests, approvals, rollouts.

    Each statement is shown with who signed it, or that nobody did. Without a control plane everything but rollouts and
    what runs now is told all the same. Data that nobody signed is looked up in the repository in --dir.

    Examples:

        softlaunch lineage main
        softlaunch lineage 3f1c9a0b77de --json
        softlaunch lineage v1.2 --dot | dot -Tsvg > lineage.svg
    """
    from softlaunch.core import lineage_graph, lineage_nodes  # noqa: PLC0415 - as in `build`
    from softlaunch.wiring import lineage as wired  # noqa: PLC0415 - as in `build`

    if dot + mermaid + as_json > 1:
        raise errors.ConfigError(
            "--dot, --mermaid and --json are three forms of one answer.",
            remedy="Give one of them, or none for text.",
            code=errors.Code.BAD_OPTION,
        )
    place = homes.Home.locate(home)
    people = identifying.trust(identity, identity_regexp, issuer, trusted_root=trusted_root, needed=False, threshold=1)
    known = wired.find(place, release, people=people)
    try:
        answers = answers_of(place, known.content.service, known.digest.value, limit=lineage_nodes.ROLLOUTS_MAX)
    except errors.SoftlaunchError as error:  # whatever keeps the control plane from answering, the rest can be told
        answers = None
        output.CONSOLE_ERR.print(
            f"Rollouts and what runs now are not known: {nobody(place, error)}", markup=False, style="yellow"
        )
    now = lineage_nodes.Now(**answers) if answers is not None else None
    graph = wired.draw(place, known, now=now, directory=directory)
    if as_json:
        output.document({"service": known.content.service, "live_known": now is not None, **graph.document()})
    elif dot:
        output.plain(lineage_graph.dot(graph))
    elif mermaid:
        output.plain(lineage_graph.mermaid(graph))
    else:
        for line in lineage_graph.text(graph):
            output.plain(line)


def answers_of(place: homes.Home, service: str, digest: str, *, limit: int) -> dict[str, Any]:
    """What the control plane says about the service, and about this release of it."""
    control = client.Client(place)
    rollouts = control.get("/v1/rollouts", service=service, limit=limit)
    services = [each for each in control.get("/v1/status")["services"] if each["service"] == service]
    mine = [each["id"] for each in rollouts if each["candidate"] == digest]
    events = [event for number in mine for event in control.get("/v1/events", rollout_id=number, limit=_EVENTS_MAX)]
    return {
        "rollouts": rollouts,
        "approvals": [event for event in events if event["kind"] == "approved"],
        "services": services,
        "pins": [
            {"service": service, "environment": each["environment"], **pin}
            for each in services
            for pin in control.get(f"/v1/services/{service}/{each['environment']}/pins")
            if pin["lifted_at"] is None
        ],
        "repositories": [each["url"] for each in _follows(control) if each["service"] == service],
    }


def _follows(control: client.Client) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = control.get("/v1/follows")
    except errors.SoftlaunchError:  # a control plane that follows no repositories has no such route
        return []
    return found


def nobody(place: homes.Home, error: errors.SoftlaunchError) -> str:
    if error.code is not errors.Code.NOT_RUNNING:
        return f"{error.message} {error.remedy}"
    url = os.environ.get("SOFTLAUNCH_URL") or (client.read_address(place) or {}).get("url")
    where = f"at {url}" if url is not None else f"for {place.root}"
    return f"nobody answers {where}; start the control plane with `softlaunch up`."
