"""`softlaunch attach`: launches between two URLs that run already."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Any

import typer

from softlaunch import errors
from softlaunch.cli import client, launch, live, options, output
from softlaunch.config import home as homes
from softlaunch.core import release, spec, spec_json


def attach(
    *,
    stable: Annotated[str | None, typer.Option(help="What runs now; in place of the file's.", metavar="URL")] = None,
    candidate: Annotated[str | None, typer.Option(help="What shall take over; likewise.", metavar="URL")] = None,
    environment: options.Environment = None,
    wait: Annotated[
        str, typer.Option(help="Until the rollout is `decided` (promoted, or taken back), has `ended`, or `no`.")
    ] = "decided",
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Launch between two running URLs that softlaunch does not manage.

    Point your users at the gateway: all of them go to the old URL, and the launch moves them to the new one, by the
    environment's plan and with its guardrails and way back. Nothing is started or stopped. Reads softlaunch.yaml as it
    is on disk; a service that only attaches needs no model and no commit.

    Exits 1 when the new version was taken back.

    Examples:

        softlaunch attach                                        # `attach:` of softlaunch.yaml says what
        softlaunch attach --env production --candidate http://10.0.0.8:9001
    """
    from softlaunch.config import service_file  # noqa: PLC0415 - likewise
    from softlaunch.wiring import builds  # noqa: PLC0415 - a second of imports no other command needs

    service = service_file.load(directory / service_file.FILE_NAME)
    target = _environment(service, environment)
    assert target.attach is not None, "only such environments are chosen"
    old, new = stable or target.attach.stable, candidate or target.attach.candidate
    target = dataclasses.replace(target, attach=dataclasses.replace(target.attach, stable=old, candidate=new))
    place = homes.Home.locate(home)
    control = client.Client(place)
    view: dict[str, Any] | None = None
    if _live(control, service.service, target.name) is None:
        digest = builds.attach(place, service.service, old, target.attach.ready if target.attach else "")
        view = _launch(control, service.service, target, digest, old, until=live.over, quiet=as_json)
        if view is not None and view["outcome"] != "promoted":
            new = None
    if new is not None:
        digest = builds.attach(place, service.service, new, target.attach.ready if target.attach else "")
        until = None if wait == "no" else live.over if wait == "ended" else live.decided
        view = _launch(control, service.service, target, digest, new, until=until, quiet=as_json) or view
    if as_json:
        output.document(view if view is not None else {"outcome": "unchanged"})
    if view is not None and view["outcome"] in ("rolled_back", "aborted"):
        raise typer.Exit(options.EXIT_DIFFERENT)


def _environment(service: spec.ServiceSpec, name: str | None) -> spec.EnvironmentSpec:
    attaching = [found for found in service.environments if found.attach is not None]
    chosen = [found for found in attaching if name is None or found.name == name]
    if len(chosen) != 1:
        names = ", ".join(found.name for found in attaching) or "none"
        raise errors.ConfigError(
            f"{len(chosen)} environments of {service.service} fit: those with `attach:` are {names}.",
            remedy="Say which with --env, or write `attach: {stable: URL, candidate: URL}` into it.",
            code=errors.Code.WHICH_PLACE,
        )
    return chosen[0]


def _live(control: client.Client, service: str, environment: str) -> str | None:
    for entry in control.get("/v1/status")["services"]:
        if (entry["service"], entry["environment"]) == (service, environment):
            digest: str | None = entry["stable"]
            return digest
    return None


def _launch(
    control: client.Client,
    service: str,
    target: spec.EnvironmentSpec,
    digest: release.Digest,
    url: str,
    *,
    until: Any,
    quiet: bool,
) -> dict[str, Any] | None:
    body = {
        "service": service,
        "environment": spec_json.dump_environment(target).decode(),
        "release": digest.value,
        "ref": url,
        "commit": "",
        "by": launch.who(),
    }
    done = control.post("/v1/rollouts", body)
    if done["rollout_id"] is None:
        if not quiet:
            output.plain(done["text"])
        return None
    if until is None:
        view: dict[str, Any] = control.get(f"/v1/rollouts/{done['rollout_id']}")
    else:
        view = live.follow(control, done["rollout_id"], quiet=quiet, until=until)
    if not quiet:
        output.text(f"{live.standing(view)}: {url} in {view['environment']}")
    return view
