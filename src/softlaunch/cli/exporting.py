"""`softlaunch export`: files for the CI and GitOps systems that teams have."""

from __future__ import annotations

import typer

EXPORT = typer.Typer(
    name="export",
    help="Files for the CI, GitOps and serverless systems a team has.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
