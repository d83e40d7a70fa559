"""Commands for following git repositories: a merge is a launch, and what runs is what the branch says."""

from __future__ import annotations

import time
from typing import Annotated, Any

import rich.markup
import rich.table
import typer

from softlaunch import errors
from softlaunch.cli import client, launch, live, options, output, people
from softlaunch.config import home as homes
from softlaunch.controller import hook_secret
from softlaunch.core import gitops, units

SYNC_SECONDS_MAX = 120.0
_POLL_SECONDS = 0.1
_COLOURS = {
    "synced": "green",
    "shipping": "cyan",
    "due": "cyan",
    "waiting": "yellow",
    "rolled-back": "yellow",
    "pinned": "red",
    "failed": "red",
    "held": "red",
}


def follow(
    repository: Annotated[str, typer.Argument(help="URL of the repository, or a directory.", metavar="REPOSITORY")],
    *,
    folder: Annotated[str, typer.Option(help="The service's folder, where it is not the repository's top.")] = "",
    every: Annotated[str, typer.Option(help="How often the git server is asked.")] = "10s",
    on_rollback: Annotated[
        gitops.OnRollback, typer.Option(help="What a rollback writes into the repository; it is pinned in any case.")
    ] = gitops.OnRollback.REVERT,
    require_signed_commits: Annotated[
        bool, typer.Option("--require-signed-commits", help="Hold at tips without a good signature.")
    ] = False,
    update_lock: Annotated[
        str, typer.Option(metavar="BRANCH", help="Keep this branch's softlaunch.lock up to date: one commit a change.")
    ] = "",
    lock_every: Annotated[str, typer.Option(help="How often what the lock pins is looked at.")] = "5m",
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Follow a git repository: each environment with a `branch:` becomes what its branch says, and stays it.

    How git gets into the repository is git's own business: its credential helpers and ssh keys are used, and an
    address with a password in it is refused.

    Examples:

        softlaunch follow https://git.example.com/team/flights.git
        softlaunch follow https://git.example.com/team/flights.git --update-lock develop --lock-every 1m
        softlaunch follow . --every 2s --on-rollback merge-request
        softlaunch follow git@git.example.com:team/all.git --folder services/pricing --require-signed-commits
    """
    place = homes.Home.locate(home)
    control = client.Client(place)
    every_seconds, lock_every_seconds = units.duration_seconds(every), units.duration_seconds(lock_every)
    from softlaunch.wiring import repositories  # noqa: PLC0415 - a second of imports no other command needs

    found = repositories.named(place, repository, folder)
    _refuse_lock(found, update_lock)
    asked = {
        "service": found.service,
        "url": found.url,
        "folder": found.folder,
        "every_seconds": every_seconds,
        "on_rollback": on_rollback.value,
        "require_signed_commits": require_signed_commits,
        "update_lock": update_lock,
        "lock_every_seconds": lock_every_seconds,
        "by": launch.who(),
    }
    control.post("/v1/follows", asked)
    followed = [{"environment": name, "branch": branch} for name, branch in found.environments]
    if as_json:
        output.document({**asked, "environments": followed})
        return
    branches = ", ".join(f"{name} is made of {branch}" for name, branch in found.environments)
    output.plain(
        f"{found.service} follows {found.url}, asked every {units.format_duration(every_seconds)}: {branches}."
    )
    if update_lock:
        often = units.format_duration(lock_every_seconds)
        output.plain(f"What softlaunch.lock of {update_lock} pins is looked at every {often}.")
    output.plain("`softlaunch sync --status` shows where it stands; `softlaunch webhook git` spares the waiting.")


def unfollow(
    service: Annotated[str, typer.Argument(help="The service.")],
    *,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Follow its repository no more. What runs goes on running.

    Examples:

        softlaunch unfollow flights
    """
    done = client.Client(homes.Home.locate(home)).post(f"/v1/follows/{service}/remove", {})
    if as_json:
        output.document(done)
    else:
        output.plain(f"{service} follows no repository any more; what runs goes on running.")


def sync(
    service: Annotated[
        str | None, typer.Argument(help="The service; all that follow a repository if left out.")
    ] = None,
    *,
    status: Annotated[
        bool, typer.Option("--status", help="Ask nobody: show what each branch says beside what runs.")
    ] = False,
    accept: Annotated[
        str, typer.Option(metavar="COMMIT", help="Follow this commit of a rewritten branch, or without a signature.")
    ] = "",
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Ask the git servers now, and try again what failed; never what is pinned.

    Says where each environment stands: what its branch says, what runs, and why the two differ. With --status it exits
    1 where they do.

    Examples:

        softlaunch sync
        softlaunch sync flights --status --json
        softlaunch sync flights --accept 3f2a91c0b1d2
    """
    control = client.Client(homes.Home.locate(home))
    if not status:
        asked = control.post("/v1/follows/sync", {"service": service, "accept": accept})["services"]
        _wait(control, asked)
    elif accept:
        raise errors.ConfigError(
            "--accept changes something, and --status only shows.",
            remedy="Give one of the two.",
            code=errors.Code.BAD_OPTION,
        )
    found = [each for each in control.get("/v1/follows") if service in (None, each["service"])]
    if service is not None and not found:
        raise errors.ConfigError(
            f"{service!r} follows no repository.",
            remedy="`softlaunch follow URL` begins it.",
            code=errors.Code.NO_FOLLOW,
        )
    if as_json:
        output.document(found)
    else:
        _show(found)
    differs = any(entry["drift"] for each in found for entry in each["environments"])
    if status and (differs or any(each["trouble"] for each in found)):
        raise typer.Exit(options.EXIT_DIFFERENT)


@people.WEBHOOK.command("git")
def webhook_git(*, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    The secret to give to a git server, whose pushes then are followed at once: POST /v1/hooks/git.

    It is made from the secret of the other webhooks and cannot sign those.

    Examples:

        softlaunch webhook git
    """
    key = hook_secret.HookSecret(homes.Home.locate(home).hook_file).read()
    if key is None:
        raise errors.ConfigError(
            "Webhooks are off: there is no secret.",
            remedy="Make one with `softlaunch webhook secret`.",
            code=errors.Code.HOOK_OFF,
        )
    made = hook_secret.for_git(key)
    if as_json:
        output.document({"secret": made, "path": "/v1/hooks/git"})
    else:
        output.plain(made)


def _refuse_lock(found: Any, branch: str) -> None:
    known = sorted({made_of for _, made_of in found.environments})
    if branch and branch not in known:
        raise errors.ConfigError(
            f"No environment of {found.service} is made of branch {branch!r:.120}.",
            remedy=f"Name one that an environment is made of: {', '.join(known)}.",
            code=errors.Code.BAD_OPTION,
        )


def _wait(control: client.Client, services: list[str]) -> None:
    """Until every server was asked, or could not be."""
    deadline = time.monotonic() + SYNC_SECONDS_MAX
    while time.monotonic() < deadline:
        found = {each["service"]: each for each in control.get("/v1/follows")}
        if not any(name in found and found[name]["asking"] for name in services):
            return
        time.sleep(_POLL_SECONDS)


def _show(found: list[dict[str, Any]]) -> None:
    if not found:
        output.plain("No repository is followed: `softlaunch follow URL`.")
    for each in found:
        folder = f" ({each['folder']})" if each["folder"] else ""
        output.text(f"[bold]{each['service']}[/] follows {rich.markup.escape(each['url'] + folder)}")
        if each["unreachable_since"] is not None:
            since = live.day(each["unreachable_since"])
            output.text(f"  [yellow]unreachable since {since}[/]: {rich.markup.escape(each['trouble'])}")
        elif each["trouble"]:
            output.text(f"  [red]{rich.markup.escape(each['trouble'])}[/]")
        if each["lock"] is not None and each["lock"]["text"]:
            colour = "yellow" if each["lock"]["trouble"] else "dim"
            output.text(f"  [{colour}]{rich.markup.escape(each['lock']['text'])}[/]")
        table = rich.table.Table(box=None, pad_edge=False)
        for heading in ("environment", "branch", "says", "runs", "", "why"):
            table.add_column(heading, overflow="fold")
        for entry in each["environments"]:
            standing = entry["standing"]
            why = entry["reason"] + (f" {entry['revert']['text']}" if entry["revert"] else "")
            table.add_row(
                entry["environment"],
                rich.markup.escape(entry["branch"]),
                _what(entry["desired"]),
                _what(entry["running"]),
                f"[{_COLOURS[standing]}]{standing}[/]",
                rich.markup.escape(why),
            )
        output.CONSOLE.print(table)


def _what(found: dict[str, Any] | None) -> str:
    if found is None:
        return "nothing"
    commit = found["commit"][:12]
    return f"{commit} ({found.get('arm') or live.short(found['release'])})" if found["release"] else commit or "-"
