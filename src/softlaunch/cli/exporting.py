"""`softlaunch export`: files for the systems and platforms that a team has."""

from __future__ import annotations

from collections.abc import Callable

import typer

from softlaunch.cli import ci_export, imaging

EXPORT = typer.Typer(
    name="export",
    help="Files for the CI systems and serverless platforms a team has.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_COMMANDS: dict[str, Callable[..., None]] = {**ci_export.EXPORTS, **imaging.EXPORTS}
for _name, _command in _COMMANDS.items():
    EXPORT.command(_name)(_command)
