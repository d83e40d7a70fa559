"""The command line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import softlaunch
from softlaunch import errors
from softlaunch.cli import catalogue

# Every command: its heading in the help, then NAME=MODULE:FUNCTION below softlaunch.cli; for a group of commands
# MODULE:TYPER_APPLICATION. A new one is one more word here; its module is imported when it is called.
_PANELS = {
    "Begin": "init=machine:init doctor=machine:doctor up=machine:up down=machine:down next=insight:next_step",
    "Launch": (
        "build=building:build lock=locking:lock deploy=launch:deploy ship=shipping:ship attach=attach:attach "
        "watch=launch:watch image=imaging:IMAGE registry=registering:REGISTRY"
    ),
    "Train": "run=training:run runs=training:RUNS job=jobs:JOB",
    "Follow git": "follow=following:follow unfollow=following:unfollow sync=following:sync",
    "Steer": (
        "promote=launch:promote approve=people:approve pause=launch:pause resume=launch:resume abort=launch:abort "
        "rollback=launch:rollback"
    ),
    "Go back": (
        "retry=people:retry pins=people:pins unpin=people:unpin report=complaints:report "
        "complaints=complaints:complaints"
    ),
    "Look": (
        "status=look:status history=look:history lineage=lineage:lineage pipelines=shipping:pipelines "
        "explain=insight:explain rejudge=insight:rejudge why=why:why log=log:LOG "
        "labels=labels:LABELS impact=log_export:impact"
    ),
    "Compare": "diff=diff:diff replay=replay:replay compare=replay:compare",
    "Prove": "verify=evidence:verify attest=evidence:attest",
    "Try the net": "drill=drill:drill",
    "People and programs": "key=evidence:KEY token=people:TOKEN webhook=people:WEBHOOK",
    "Where you are": "export=exporting:EXPORT",
}
_PLACES = {
    name: catalogue.Place(source=source, panel=panel)
    for panel, words in _PANELS.items()
    for name, _, source in (word.partition("=") for word in words.split())
}

APP = typer.Typer(
    name="softlaunch",
    cls=catalogue.group(_PLACES),
    help="Every model launch is a soft launch: from a git commit to monitored production, and back.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:  # noqa: FBT001 - Typer calls it with the flag's value
    if asked:
        typer.echo(f"softlaunch {softlaunch.__version__}")
        raise typer.Exit


@APP.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _failed(error: errors.SoftlaunchError) -> int:
    from softlaunch.cli import output  # noqa: PLC0415 - Rich, which a command that prints nothing has no use for

    return output.failure(error, as_json="--json" in sys.argv)


def main() -> None:
    """Runs a command; errors become a message with a remedy and an exit code (2 caller, 3 race, 4 neighbour, 70 us)."""
    try:
        APP()
    except errors.SoftlaunchError as error:
        sys.exit(_failed(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - exit code 1 is an answer ("taken back"), and a bug must not look like one
        import traceback  # noqa: PLC0415 - for bugs alone

        traceback.print_exc()
        sys.exit(_failed(errors.InvariantError(f"{type(error).__name__}: {error}")))


if __name__ == "__main__":
    main()
