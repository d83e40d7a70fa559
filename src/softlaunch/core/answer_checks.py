"""
What an answer of somebody's own HTTP code has to hold: a number at a JSON path, within bounds.

A release that softlaunch runs as a model is checked against its signature. An ASGI app or a command has none; its
`answers:` in softlaunch.yaml say what a good answer is, so that NaN, nonsense and missing fields are found before a
user sees them, exactly like a model's.

    path     dotted names and list places: `prediction`, `result.score`, `predictions.0.late`;
             `*` stands for every element of a list: `predictions.*.late`
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from softlaunch import errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerCheck:
    """One place of the answer and what may stand there; without bounds any finite number, text or boolean."""

    path: str
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        if not self.path or any(not part for part in self.path.split(".")):
            raise errors.InvariantError(f"Not a path into an answer: {self.path!r}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broken:
    """Why an answer may not leave."""

    path: str
    message: str


def broken(checks: Sequence[AnswerCheck], document: Any) -> Broken | None:
    """The first check the decoded answer does not hold, None when it holds all."""
    for check in checks:
        found = list(_values(document, check.path.split(".")))
        if not found:
            return Broken(path=check.path, message=f"The answer has nothing at {check.path!r}.")
        for value in found:
            said = _fault(check, value)
            if said is not None:
                return Broken(path=check.path, message=said)
    return None


def first_value(checks: Sequence[AnswerCheck], document: Any) -> Any:
    """What stands at the first check's path, for the distribution of outputs; None when nothing does."""
    if not checks:
        return None
    return next(_values(document, checks[0].path.split(".")), None)


def values(path: str, document: Any) -> list[Any]:
    """What stands at a path, of every element where it has a `*`."""
    return list(_values(document, path.split(".")))


def row_count(checks: Sequence[AnswerCheck], document: Any) -> int:
    """How many predictions an answer holds: the elements at the first check's path, else one."""
    if not checks or "*" not in checks[0].path.split("."):
        return 1
    return sum(1 for _ in _values(document, checks[0].path.split(".")))


def _values(document: Any, parts: Sequence[str]) -> Iterator[Any]:
    if not parts:
        yield document
        return
    head, rest = parts[0], parts[1:]
    if isinstance(document, dict):
        if head in document:
            yield from _values(document[head], rest)
    elif isinstance(document, list):
        if head == "*":
            for each in document:
                yield from _values(each, rest)
        elif head.isdecimal() and int(head) < len(document):
            yield from _values(document[int(head)], rest)


def _fault(check: AnswerCheck, value: Any) -> str | None:
    bounded = check.minimum is not None or check.maximum is not None
    if isinstance(value, bool) or not isinstance(value, int | float):
        if bounded or value is None or isinstance(value, dict | list):
            return f"{check.path!r} is {_shown(value)}, not a {'number' if bounded else 'value'}."
        return None
    if not math.isfinite(value):
        return f"{check.path!r} is {value}, not a finite number."
    below = check.minimum is not None and value < check.minimum
    above = check.maximum is not None and value > check.maximum
    if below or above:
        return f"{check.path!r} is {value:g}, outside of {check.minimum} to {check.maximum}."
    return None


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    return f"{value!r:.60}"
