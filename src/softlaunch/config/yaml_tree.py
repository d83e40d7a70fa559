"""
YAML text as a tree of nodes that remember their line and column.

The grammar is ruamel.yaml's (YAML 1.2: `no` is a text, not false). What YAML can do and a file that decides about
production should not is refused here, each with its line: aliases (a few lines of them expand to gigabytes), tags
(they name types to build), several documents, nesting deeper than any service file, a file larger than a person writes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import ruamel.yaml
import ruamel.yaml.error
import ruamel.yaml.events

from softlaunch.config import problems

CHARACTER_COUNT_MAX = 131_072
"""A generous service file has 5,000; the scanner reads this many in under two seconds. A guess in between."""
DEPTH_MAX = 32
"""The deepest known key lies 7 deep; the rest is left for a fallback body."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scalar:
    line: int
    column: int
    text: str
    plain: bool
    """Written without quotes: may be a number, true, false or null."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sequence:
    line: int
    column: int
    items: tuple[Node, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mapping:
    line: int
    column: int
    entries: tuple[tuple[Scalar, Node], ...]
    """Keys are distinct; a repeated one was reported and its first value kept."""


Node = Scalar | Sequence | Mapping


class _StopReadingError(Exception):
    """The rest of the file cannot be read; the reason is in the notebook."""


def compose(text: str, notebook: problems.Notebook) -> Node | None:
    """The tree of the text; None when there is none, and then the notebook says why."""
    if len(text) > CHARACTER_COUNT_MAX:
        notebook.add(
            line=1,
            column=1,
            path="",
            message=f"The file has {len(text)} characters, more than {CHARACTER_COUNT_MAX}.",
            remedy="Put data into files of its own and name them here.",
        )
        return None
    try:
        return _Composer(text.removeprefix("\ufeff"), notebook).document()
    except _StopReadingError:
        return None


def is_null(node: Node) -> bool:
    """Nothing was written, or `null`, or `~`."""
    return isinstance(node, Scalar) and node.plain and node.text in {"", "~", "null", "Null", "NULL"}


def describe(node: Node) -> str:
    """What the node is, for a message that expected something else."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    return "nothing" if is_null(node) else f"'{problems.show(node.text)}'"


class _Composer:
    def __init__(self, text: str, notebook: problems.Notebook) -> None:
        self._notebook = notebook
        self._events = self._translated(text)

    def document(self) -> Node | None:
        events = self._events
        next(events)  # the stream starts
        if isinstance(next(events), ruamel.yaml.events.StreamEndEvent):
            self._add(1, 1, "", "The file is empty.", "Three keys are enough: service, model, environments.")
            return None
        root = self._node(next(events), path="", depth=0)
        next(events)  # the document ends
        after = next(events)
        if not isinstance(after, ruamel.yaml.events.StreamEndEvent):
            self._add(*_position(after), "", "A second document starts here.", "Keep one service in one file.")
            return None
        return root

    def _node(self, event: Any, *, path: str, depth: int) -> Node:
        line, column = _position(event)
        if depth > DEPTH_MAX:
            self._stop(line, column, f"The file nests deeper than {DEPTH_MAX} levels.", "Flatten it.")
        if isinstance(event, ruamel.yaml.events.AliasEvent):
            self._stop(line, column, "Aliases (*name) are not supported.", "Write the value out where it is needed.")
        if event.anchor is not None:
            self._add(
                line, column, path, f"Anchors (&{problems.show(str(event.anchor))}) are not supported.", "Remove it."
            )
        if event.tag is not None:
            self._add(line, column, path, f"Tags ({problems.show(str(event.tag))}) are not supported.", "Remove it.")
        if isinstance(event, ruamel.yaml.events.ScalarEvent):
            return Scalar(line=line, column=column, text=event.value, plain=bool(event.implicit[0]))
        if isinstance(event, ruamel.yaml.events.SequenceStartEvent):
            items = (
                self._node(found, path=f"{path}[{number}]", depth=depth + 1)
                for number, found in enumerate(self._until(ruamel.yaml.events.SequenceEndEvent))
            )
            return Sequence(line=line, column=column, items=tuple(items))
        return Mapping(line=line, column=column, entries=tuple(self._entries(path, depth)))

    def _entries(self, path: str, depth: int) -> Iterator[tuple[Scalar, Node]]:
        seen: dict[str, int] = {}
        for event in self._until(ruamel.yaml.events.MappingEndEvent):
            key = self._node(event, path=path, depth=depth + 1)
            below = join(path, key.text) if isinstance(key, Scalar) else path
            value = self._node(next(self._events), path=below, depth=depth + 1)
            if not isinstance(key, Scalar):
                self._add(key.line, key.column, path, f"A key is {describe(key)}.", "Keys are plain words.")
            elif key.text in seen:
                first = f"the first is in line {seen[key.text]}"
                message = f"The key '{problems.show(key.text)}' stands here a second time; {first}."
                self._add(key.line, key.column, below, message, "Keep one of them.")
            else:
                seen[key.text] = key.line
                # An empty value has the position of whatever comes next, which points people at the wrong line.
                yield key, dataclasses.replace(value, line=key.line, column=key.column) if is_null(value) else value

    def _until(self, end: type) -> Iterator[Any]:
        return itertools.takewhile(lambda event: not isinstance(event, end), self._events)

    def _translated(self, text: str) -> Iterator[Any]:
        try:
            yield from ruamel.yaml.YAML(typ="safe", pure=True).parse(text)
        except ruamel.yaml.error.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
            self._stop(line, column, *_explained(error, text, line))
        except ruamel.yaml.error.YAMLError as error:
            line, column, message = _unreadable_character(text) or (1, 1, problems.show(str(error)))
            self._stop(line, column, message, "Save the file as plain UTF-8 text.")
        except (
            ValueError,
            IndexError,
            KeyError,
            AttributeError,
            TypeError,
            AssertionError,
            NotImplementedError,
        ) as error:
            # The scanner has holes: a damaged escape or directive escapes as one of Python's own errors.
            self._stop(1, 1, f"The file is not YAML ({problems.show(repr(error))}).", "Look for stray punctuation.")

    def _add(self, line: int, column: int, path: str, message: str, remedy: str) -> None:
        self._notebook.add(line=line, column=column, path=path, message=message, remedy=remedy)

    def _stop(self, line: int, column: int, message: str, remedy: str) -> None:
        self._add(line, column, "", message, remedy)
        raise _StopReadingError


def join(path: str, key: str) -> str:
    """The path of a key below a path."""
    shown = problems.show(key)
    return f"{path}.{shown}" if path else shown


def _position(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _explained(error: ruamel.yaml.error.MarkedYAMLError, text: str, line: int) -> tuple[str, str]:
    problem = str(error.problem or "")
    if "'\\t'" in problem:
        return "A tab stands where only spaces may.", "Indent with spaces."
    if "mapping values are not allowed" in problem:
        return "A ':' stands where no key can be.", "Quote the value, or put the key on a line of its own."
    if "unexpected end of stream" in problem or "<stream end>" in problem:
        opened = f" opened in line {error.context_mark.line + 1}" if error.context_mark is not None else ""
        return f"The file ends inside something{opened}.", "Close the quote or bracket."
    lines = text.splitlines()
    if "<block end>" in problem and line <= len(lines):
        return (
            f"The line '{problems.show(lines[line - 1].strip())}' does not fit the lines above.",
            "Check its indentation.",
        )
    context = f" ({problems.show(str(error.context))})" if error.context else ""
    return f"This is not YAML: {problems.show(problem)}{context}.", "Check quotes, brackets and indentation."


def _unreadable_character(text: str) -> tuple[int, int, str] | None:
    for number, content in enumerate(text.split("\n"), start=1):
        for column, letter in enumerate(content, start=1):
            if not letter.isprintable() and letter not in "\t\r\u00a0\u0085\u2028\u2029\ufeff":
                return number, column, f"The character {letter!a} cannot stand in a text file."
    return None
