"""`softlaunch export`: files for the systems and platforms that a team has."""

from __future__ import annotations

import typer

from softlaunch.cli import ci_export, imaging

EXPORT = typer.Typer(
    name="export",
    help="Files for the CI systems and serverless platforms a team has.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for _name, _command in {**ci_export.EXPORTS, **imaging.EXPORTS}.items():
    EXPORT.command(_name)(_command)
