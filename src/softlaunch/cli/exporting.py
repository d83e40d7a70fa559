"""`softlaunch export`: files for the platforms that run images."""

from __future__ import annotations

import typer

EXPORT = typer.Typer(
    name="export",
    help="Files for the serverless platforms a team has.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
