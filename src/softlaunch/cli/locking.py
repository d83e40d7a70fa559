"""The lock command."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Any

import typer

from softlaunch import errors
from softlaunch.cli import options, output
from softlaunch.config import home as homes

STALE = 1
"""Exit code of --check when the lock would say something else now."""


def lock(
    *,
    update: Annotated[
        bool, typer.Option("--update", help="Look again at what is pinned already; moved aliases and files follow.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 when the lock would say something else now.")
    ] = False,
    commit: Annotated[
        bool, typer.Option("--commit", help="With --update: one commit on the branch, when something has changed.")
    ] = False,
    branch: Annotated[
        str | None, typer.Option("--branch", help="Which branch is committed to; without it the one checked out.")
    ] = None,
    push: Annotated[
        bool, typer.Option("--push", help="The branch is origin's, and the commit is pushed there.")
    ] = False,
    unless_reverted: Annotated[
        bool, typer.Option("--unless-reverted", help="With --commit: not what somebody, or a rollback, has taken back.")
    ] = False,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Pin the bytes of model, reference and holdout in softlaunch.lock.

    Each of them is a path of the repository, a file kept by Git LFS or DVC, an http(s), s3, gs or az URL, or a model
    of an MLflow registry. A build takes these bytes and no others.

    Without --update a lock that pins everything is left as it is, whatever has moved meanwhile.

    Examples:

        softlaunch lock && git add softlaunch.lock
        softlaunch lock --check
        softlaunch lock --update --commit --branch develop --push --unless-reverted
    """
    _refuse(update=update, check=check, commit=commit, only_with_commit=branch is not None or push or unless_reverted)
    from softlaunch.wiring import locking as wired  # noqa: PLC0415 - a second of imports no other command needs

    place = homes.Home.locate(home)
    if commit:
        found = wired.update(place, directory, branch=branch, push=push, unless_reverted=unless_reverted)
    elif check:
        found = wired.check(place, directory)
    else:
        found = wired.write(place, directory, again=update)
    if as_json:
        output.document(_document(found))
    else:
        _tell(found, check=check)
    if check and found.changes:
        raise typer.Exit(STALE)


def _refuse(*, update: bool, check: bool, commit: bool, only_with_commit: bool) -> None:
    wrong = ""
    if check and (update or commit):
        wrong = "--check writes nothing, --update and --commit do."
    elif commit and not update:
        wrong = "--commit goes with --update."
    elif only_with_commit and not commit:
        wrong = "--branch, --push and --unless-reverted go with --commit."
    if wrong:
        raise errors.ConfigError(
            wrong, remedy="Remove one, or add what is missing; see `--help`.", code=errors.Code.BAD_OPTION
        )


def _document(found: Any) -> dict[str, Any]:
    return {
        "stale": [
            {
                "role": change.role.value,
                "was": dataclasses.asdict(change.was) if change.was is not None else None,
                "now": dataclasses.asdict(change.now) if change.now is not None else None,
            }
            for change in found.changes
        ],
        "pins": {role.value: dataclasses.asdict(pin) for role, pin in found.pins.items()},
        "branch": found.branch,
        "commit": found.commit,
        "pushed": found.pushed,
        "taken_back": found.taken_back,
    }


def _tell(found: Any, *, check: bool) -> None:
    for change in found.changes:
        output.plain(change.text)
    if not found.changes:
        where = f" on {found.branch}" if found.branch is not None else ""
        output.plain(f"softlaunch.lock is up to date{where}: {len(found.pins)} pinned.")
    elif check:
        output.plain("softlaunch.lock is stale: run `softlaunch lock --update` and commit it.")
    elif found.taken_back is not None:
        output.plain(f"Left alone: commit {found.taken_back[:12]} on {found.branch} took this back.")
    elif found.commit is not None:
        pushed = ", pushed to origin" if found.pushed else ""
        output.plain(f"Commit {found.commit[:12]} on {found.branch}{pushed}.")
    else:
        output.plain("Wrote softlaunch.lock. Commit it.")
