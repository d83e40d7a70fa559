"""Commands that launch a release, steer a rollout and go back."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import rich.markup
import typer

from softlaunch import errors
from softlaunch.cli import building, client, live, options, output, places
from softlaunch.config import home as homes
from softlaunch.controller import people
from softlaunch.core import spec, spec_json


def deploy(
    ref: Annotated[
        str,
        typer.Argument(help="Commit, branch or tag; HOST/NAME@sha256:HEX; a digest.", show_default="HEAD"),
    ] = "HEAD",
    *,
    environment: options.Environment = None,
    wait: Annotated[
        str, typer.Option(help="Until the rollout is `decided` (promoted, or taken back), has `ended`, or `no`.")
    ] = "decided",
    patient: Annotated[
        bool, typer.Option("--no-replace", help="Refuse while a rollout runs there, instead of taking its place.")
    ] = False,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Launch a commit's release, step by step, and watch it.

    The release is built first if it was not. One that is named by its place in a registry or by its digest is never
    built: it is pulled, and launched as the softlaunch.yaml of this folder says. An environment with `after:` takes
    only releases that passed the environment named there; a release that has not is launched there first. A rollout
    that runs makes way: a hotfix does not wait for what it repairs. A release that was taken back is pinned until
    `softlaunch unpin`.

    Exits 1 when the release was taken back.

    Examples:

        softlaunch deploy                          # the last commit, into the one environment there is
        softlaunch deploy v2 --env production
        softlaunch deploy registry.example.com/flight-delay@sha256:HEX --env production
        softlaunch deploy main --env production --wait ended --json
    """
    if wait not in ("decided", "ended", "no"):
        raise errors.ConfigError(
            f"--wait {wait!r} is not one of decided, ended, no.",
            remedy="Use --wait decided, ended or no.",
            code=errors.Code.BAD_OPTION,
        )
    place = homes.Home.locate(home)
    control = client.Client(place)
    pulled = building.pulled_release(place, directory, ref, quiet=as_json)
    built = pulled or building.build_release(place, directory, ref, quiet=as_json)
    target = _environment(built.spec, environment)
    path = _path_to(built.spec, target)
    view: dict[str, Any] | None = None
    for step in path:
        if step is not target and _passed(control, built, step):
            continue
        until = wait if step is target else "ended"
        view = _launch(control, built, step, ref=ref, wait=until, replace=not patient, quiet=as_json)
        if view is not None and view["outcome"] not in (None, "promoted"):
            break
    if as_json:
        output.document(view if view is not None else {"outcome": "unchanged", "release": built.digest.value})
    if view is not None and view["outcome"] in ("rolled_back", "aborted"):
        raise typer.Exit(options.EXIT_DIFFERENT)


def watch(
    number: Annotated[int | None, typer.Argument(help="Rollout; the one that runs if left out.")] = None,
    *,
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Watch a rollout until it has ended. Exits 1 when it was taken back.

    Examples:

        softlaunch watch
        softlaunch watch 7 --json
    """
    control = client.Client(homes.Home.locate(home))
    if number is None:
        found = places.pick(control, service=service, environment=environment, running=True)
        number = _running(control, *found)
    view = live.follow(control, number, quiet=as_json, until=live.over)
    close(view, as_json=as_json)


def promote(
    *,
    full: Annotated[bool, typer.Option("--full", help="To the end, not just one step.")] = False,
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Go on by your own decision: one step, or to the end. In the watch window, end it.

    Examples:

        softlaunch promote
        softlaunch promote --full --env production
    """
    operate("promote", home, service, environment, as_json=as_json, full=full)


def pause(
    *,
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Keep the share as it is. A broken guardrail still rolls back.

    Examples:

        softlaunch pause
        softlaunch pause --service flights --env production
    """
    operate("pause", home, service, environment, as_json=as_json)


def resume(
    *,
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Go on after a pause, or after a hold that you have looked into.

    Examples:

        softlaunch resume
        softlaunch resume --env production --json
    """
    operate("resume", home, service, environment, as_json=as_json)


def abort(
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    End the rollout: all traffic back to stable, now.

    Examples:

        softlaunch abort
        softlaunch abort --reason "wrong model file"
    """
    operate("abort", home, service, environment, as_json=as_json, reason=reason)


def rollback(
    *,
    to: Annotated[
        str, typer.Option(help="previous, or a digest, commit, tag, branch or anything git makes a commit of.")
    ] = "previous",
    reason: Annotated[str, typer.Option(help="Why; kept with the pin of the release that is left.")] = "",
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Go back to an earlier release at once. During a rollout: the same as abort.

    The release that is left is pinned: it is not launched there again until `softlaunch unpin`.

    Examples:

        softlaunch rollback
        softlaunch rollback --to v1 --env production --reason "prices are wrong"
        softlaunch rollback --to 3f2a91c
        softlaunch rollback --to HEAD~1
    """
    located = homes.Home.locate(home)
    control = client.Client(located)
    found = places.pick(control, service=service, environment=environment, running=True)
    if to != "previous":
        from softlaunch.wiring import recordings  # noqa: PLC0415 - half a second of imports few commands need

        to = recordings.known_as(located, to, service=found[0], directory=pathlib.Path.cwd())
    done = control.post(f"/v1/services/{found[0]}/{found[1]}/rollback", {"by": who(), "to": to, "reason": reason})
    if done["rollout_id"] is None:
        unchanged(done["text"], as_json=as_json)
        return
    view = live.follow(control, done["rollout_id"], quiet=as_json, until=live.over)
    if as_json:
        output.document(view)
    else:
        output.text(f"{live.standing(view)}: {rich.markup.escape(view['reason'])}")


def who() -> str:
    """The name history records show."""
    return people.local_user()


def unchanged(text: str, *, as_json: bool) -> None:
    """Says that nothing had to be done."""
    if as_json:
        output.document({"outcome": "unchanged", "text": text})
    else:
        output.plain(text)


def close(view: dict[str, Any], *, as_json: bool) -> None:
    """
    The last word about a rollout that was followed.

    Raises:
        typer.Exit: with 1, when it was taken back.
    """
    if as_json:
        output.document(view)
    else:
        output.text(f"{live.standing(view)}: {rich.markup.escape(view['reason'])}")
    if view["outcome"] in ("rolled_back", "aborted"):
        raise typer.Exit(options.EXIT_DIFFERENT)


def operate(
    verb: str, home: pathlib.Path | None, service: str | None, environment: str | None, *, as_json: bool, **more: Any
) -> None:
    """Steers the rollout that is meant, and says where it stands then."""
    control = client.Client(homes.Home.locate(home))
    found = places.pick(control, service=service, environment=environment, running=True)
    view = control.post(f"/v1/services/{found[0]}/{found[1]}/{verb}", {"by": who(), **more})
    if as_json:
        output.document(view)
    else:
        output.text(f"{live.standing(view)}: {rich.markup.escape(view['reason'])}")


def _launch(
    control: client.Client,
    built: building.Built,
    target: spec.EnvironmentSpec,
    *,
    ref: str,
    wait: str,
    replace: bool,
    quiet: bool,
) -> dict[str, Any] | None:
    body = {
        "service": built.spec.service,
        "environment": spec_json.dump_environment(target).decode(),
        "release": built.digest.value,
        "ref": ref,
        "commit": built.commit,
        "by": who(),
        "replace": replace,
    }
    done = control.post("/v1/rollouts", body)
    if done["rollout_id"] is None:
        if not quiet:
            output.plain(done["text"])
        return None
    if done["after"] is not None and not quiet:
        output.plain(done["text"])
    if wait == "no":  # a release that follows another has no rollout of its own yet
        view: dict[str, Any] = control.get(f"/v1/rollouts/{done['after'] or done['rollout_id']}")
    else:
        if done["after"] is not None:
            live.follow(control, done["after"], quiet=quiet, until=live.over)
        until = live.over if wait == "ended" else live.decided
        view = live.follow(control, done["rollout_id"], quiet=quiet, until=until)
    if not quiet:
        _tell(view)
    return view


def _tell(view: dict[str, Any]) -> None:
    output.text(f"{live.standing(view)}: {view['candidate_arm']} in {view['environment']}")
    if view["phase"] == "watching":
        output.plain(
            f"  The old release keeps its share for {view['watch_seconds']:g} s; `softlaunch watch` follows, "
            "`softlaunch promote` ends it."
        )


def _environment(service: spec.ServiceSpec, name: str | None) -> spec.EnvironmentSpec:
    names = ", ".join(found.name for found in service.environments)
    if name is None:
        last = {found.name for found in service.environments} - {found.after for found in service.environments}
        if len(last) == 1:
            name = last.pop()
        else:
            raise errors.ConfigError(
                f"{service.service} has the environments {names}.",
                remedy="Say which with --env.",
                code=errors.Code.WHICH_PLACE,
            )
    found = service.environment(name)
    if found is None:
        raise errors.ConfigError(
            f"{service.service} has no environment {name!r} at that commit; it has {names}.",
            remedy="Use one of them, or add it to softlaunch.yaml and commit.",
            code=errors.Code.WHICH_PLACE,
        )
    return found


def _path_to(service: spec.ServiceSpec, target: spec.EnvironmentSpec) -> list[spec.EnvironmentSpec]:
    """The environments a release goes through, the target last."""
    path = [target]
    while path[0].after is not None:
        before = service.environment(path[0].after)
        assert before is not None, "the parser checked `after`"
        path.insert(0, before)
    return path


def _passed(control: client.Client, built: building.Built, step: spec.EnvironmentSpec) -> bool:
    found = control.get("/v1/rollouts", service=built.spec.service, environment=step.name, limit=1000)
    return any(view["candidate"] == built.digest.value and view["outcome"] == "promoted" for view in found)


def _running(control: client.Client, service: str, environment: str) -> int:
    for entry in control.get("/v1/status")["services"]:
        if (entry["service"], entry["environment"]) == (service, environment) and entry["rollout"]:
            number: int = entry["rollout"]["id"]
            return number
    raise errors.ConfigError(
        f"No rollout of {service!r} runs in {environment!r}.",
        remedy="Give a rollout's number: `softlaunch history` lists them.",
        code=errors.Code.NO_ROLLOUT,
    )
