"""The command line."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

import softlaunch
from softlaunch import errors
from softlaunch.cli import (
    attach,
    building,
    complaints,
    drill,
    evidence,
    exporting,
    following,
    imaging,
    insight,
    launch,
    locking,
    look,
    machine,
    output,
    people,
    replay,
    shipping,
)

APP = typer.Typer(
    name="softlaunch",
    help="Every model launch is a soft launch: from a git commit to monitored production, and back.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

for _panel, _commands in (
    ("Begin", (machine.init, machine.doctor, machine.up, machine.down)),
    ("Launch", (building.build, locking.lock, launch.deploy, shipping.ship, attach.attach, launch.watch)),
    ("Follow git", (following.follow, following.unfollow, following.sync)),
    ("Steer", (launch.promote, people.approve, launch.pause, launch.resume, launch.abort, launch.rollback)),
    ("Go back", (people.retry, people.pins, people.unpin, complaints.report, complaints.complaints)),
    ("Look", (look.status, look.history, shipping.pipelines, insight.explain, insight.rejudge)),
    ("Compare", (replay.replay, replay.compare)),
    ("Prove", (evidence.verify, evidence.attest)),
    ("Try the net", (drill.drill,)),
):
    for _command in _commands:
        APP.command(_command.__name__, rich_help_panel=_panel)(_command)
APP.command("next", rich_help_panel="Begin")(insight.next_step)
APP.add_typer(evidence.KEY, name="key", rich_help_panel="People and programs")
for _name, _export in imaging.EXPORTS.items():
    exporting.EXPORT.command(_name)(_export)
APP.add_typer(imaging.IMAGE, name="image", rich_help_panel="Launch")
APP.add_typer(exporting.EXPORT, name="export", rich_help_panel="Where you are")
APP.add_typer(people.TOKEN, name="token", rich_help_panel="People and programs")
APP.add_typer(people.WEBHOOK, name="webhook", rich_help_panel="People and programs")


def _version(asked: bool) -> None:  # noqa: FBT001 - Typer calls it with the flag's value
    if asked:
        output.plain(f"softlaunch {softlaunch.__version__}")
        raise typer.Exit


@APP.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs a command; errors become a message with a remedy and an exit code (2 caller, 3 race, 4 neighbour, 70 us)."""
    try:
        APP()
    except errors.SoftlaunchError as error:
        sys.exit(output.failure(error, as_json="--json" in sys.argv))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - exit code 1 is an answer ("taken back"), and a bug must not look like one
        traceback.print_exc()
        bug = errors.InvariantError(f"{type(error).__name__}: {error}")
        sys.exit(output.failure(bug, as_json="--json" in sys.argv))


if __name__ == "__main__":
    main()
