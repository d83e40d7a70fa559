"""Options that many commands share, with one wording."""

from __future__ import annotations

import datetime
import pathlib
from typing import Annotated

import typer

from softlaunch import errors

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
HomeOption = Annotated[
    pathlib.Path | None,
    typer.Option("--home", help="softlaunch's home directory.", envvar="SOFTLAUNCH_HOME", show_default="~/.softlaunch"),
]
Service = Annotated[
    str | None, typer.Option("--service", "-s", help="Service; taken from ./softlaunch.yaml or from what runs.")
]
LogService = Annotated[str | None, typer.Option("--service", "-s", help="Service whose prediction log it is.")]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", help="As known at this ISO 8601 time.", show_default="now", metavar="TIME"),
]
Environment = Annotated[str | None, typer.Option("--env", "-e", help="Environment; may be left out when there is one.")]
Directory = Annotated[
    pathlib.Path, typer.Option("--dir", help="Folder of the service: where softlaunch.yaml is.", file_okay=False)
]
Ref = Annotated[str, typer.Argument(help="Commit, branch or tag.", show_default="HEAD")]
EXIT_DIFFERENT = 1
"""The command worked and the answer is no: rolled back, aborted, a problem found."""
EXIT_UNDECIDED = 5
"""The command worked, and there was not enough evidence for a yes or a no."""


def moment(text: str | None) -> datetime.datetime | None:
    """
    The time that --as-of names; no zone means UTC.

    Raises:
        ConfigError: it is none.
    """
    if text is None:
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise errors.ConfigError(
            f"--as-of {text!r:.60} is no ISO 8601 time.",
            remedy="Write one as 2026-11-24T12:00:00Z.",
            code=errors.Code.BAD_OPTION,
        ) from error
    return found.replace(tzinfo=found.tzinfo or datetime.UTC)
