"""What commands print: text for people, one JSON document for programs, errors with their remedy."""

from __future__ import annotations

import json
import sys
from typing import Any

import rich.console
import rich.markup

from softlaunch import errors

WIDTH_ELSEWHERE = 200
"""Where the output is no terminal, tables are as wide as they like: nothing is cut off in a pipe."""

CONSOLE = rich.console.Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_ELSEWHERE)
CONSOLE_ERR = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)

EXIT_CODES = (
    (errors.ConfigError, 2),
    (errors.ConflictError, 3),
    (errors.UnavailableError, 4),
    (errors.InvariantError, 70),
)


def document(found: Any) -> None:
    """Prints one JSON document."""
    sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def text(line: str) -> None:
    """Prints a line; Rich markup in it is meant."""
    CONSOLE.print(line)


def plain(line: str) -> None:
    """Prints a line as it is: nothing in it is markup."""
    CONSOLE.print(line, markup=False)


def log_to_stderr() -> None:
    """What adapters log is for people; standard output is the command's answer."""
    import structlog  # noqa: PLC0415  # few commands have adapters of their own that log

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def failure(error: errors.SoftlaunchError, *, as_json: bool) -> int:
    """Prints an error with its remedy; returns the exit code."""
    if as_json:
        document({"error": error.message, "remedy": error.remedy, "code": error.code.value})
    else:
        CONSOLE_ERR.print(f"[bold red]error[/] {rich.markup.escape(error.message)}")
        CONSOLE_ERR.print(f"  [bold]fix[/] {rich.markup.escape(error.remedy)}  [dim]({error.code.value})[/]")
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 70)
