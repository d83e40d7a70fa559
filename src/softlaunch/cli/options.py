"""Options that many commands share, with one wording."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
HomeOption = Annotated[
    pathlib.Path | None,
    typer.Option("--home", help="softlaunch's home directory.", envvar="SOFTLAUNCH_HOME", show_default="~/.softlaunch"),
]
Service = Annotated[
    str | None, typer.Option("--service", "-s", help="Service; taken from ./softlaunch.yaml or from what runs.")
]
LogService = Annotated[str | None, typer.Option("--service", "-s", help="Service whose prediction log it is.")]
Environment = Annotated[str | None, typer.Option("--env", "-e", help="Environment; may be left out when there is one.")]
Directory = Annotated[
    pathlib.Path, typer.Option("--dir", help="Folder of the service: where softlaunch.yaml is.", file_okay=False)
]
Ref = Annotated[str, typer.Argument(help="Commit, branch or tag.", show_default="HEAD")]
EXIT_DIFFERENT = 1
"""The command worked and the answer is no: rolled back, aborted, a problem found."""
EXIT_UNDECIDED = 5
"""The command worked, and there was not enough evidence for a yes or a no."""
