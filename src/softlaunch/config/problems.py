"""
Mistakes in softlaunch.yaml: collected while reading, reported together, printed like a compiler prints them.

    softlaunch.yaml:12:5: environments.production.strategy.canary.steps[2]: 5% is not above 25%. Steps must rise: ...
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence

from softlaunch import errors

_PRINTED_MAX = 50
"""Enough for any file a person wrote; a megabyte of nonsense must not print a megabyte of messages."""
_SHOWN_CHARACTERS_MAX = 60
_GUESSED_CHARACTERS_MAX = 64
"""difflib is quadratic, and nobody mistypes a longer name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake, where it is and what to write instead."""

    line: int
    """From 1."""
    column: int
    """From 1."""
    path: str
    """The key, such as environments.production.strategy.canary.steps[2]; empty for the file as a whole."""
    message: str
    """What is wrong, with the offending value."""
    remedy: str


class ServiceFileError(errors.ConfigError):
    """
    The file cannot be used; nothing was changed.

    Attributes:
        name: The file's name, as printed.
        problems: Every mistake, in the order of the file.
    """

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.name = name
        self.problems = tuple(sorted(problems, key=lambda found: (found.line, found.column, found.path)))
        super().__init__(
            "\n".join(self._lines()),
            remedy=f"docs/reference/softlaunch-yaml.md describes every key of {name}.",
            code=errors.Code.SERVICE_FILE,
        )

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}"

    def _lines(self) -> Sequence[str]:
        lines = [format_problem(self.name, problem) for problem in self.problems[:_PRINTED_MAX]]
        more = len(self.problems) - len(lines)
        return [*lines, f"{self.name}: and {more} more."] if more else lines


def format_problem(name: str, problem: Problem) -> str:
    """`NAME:LINE:COLUMN: PATH: MESSAGE REMEDY`."""
    where = f"{name}:{problem.line}:{problem.column}: "
    path = f"{problem.path}: " if problem.path else ""
    return f"{where}{path}{problem.message} {problem.remedy}"


def show(value: str) -> str:
    """The value as it may appear in a message: shortened, and without control characters."""
    printable = show_all(value)
    return printable if len(printable) <= _SHOWN_CHARACTERS_MAX else f"{printable[: _SHOWN_CHARACTERS_MAX - 3]}..."


def show_all(value: str) -> str:
    """As `show`, in full: for messages that quote a value themselves."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in value)


def nearest(written: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that was probably meant, None when none comes close."""
    if len(written) > _GUESSED_CHARACTERS_MAX:
        return None
    names = {name.lower(): name for name in allowed}
    close = difflib.get_close_matches(written.lower(), names, n=1, cutoff=0.55)
    return names[close[0]] if close else None


def choose(written: str, allowed: Sequence[str]) -> str:
    """The remedy for a name that is not allowed: the nearest one first, then all of them."""
    everything = ", ".join(allowed)
    guess = nearest(written, allowed)
    if guess is None:
        return f"Allowed: {everything}."
    return f"Did you mean {guess}? Allowed: {everything}."


class Notebook:
    """Where the readers of one file write its mistakes down."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def add(self, *, line: int, column: int, path: str, message: str, remedy: str) -> None:
        """Writes one mistake down; the same mistake twice is one."""
        problem = Problem(line=line, column=column, path=path, message=message, remedy=remedy)
        if problem not in self._problems[-8:]:
            self._problems.append(problem)

    def problems(self) -> tuple[Problem, ...]:
        """What was written down so far."""
        return tuple(self._problems)
