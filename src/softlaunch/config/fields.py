"""
Fields: one value of the file with its path, read as what it should be.

Every reading method returns the value, or writes the mistake down and returns the given stand-in, so that reading goes
on and the next mistake is found too. The stand-in is never used: a file with a mistake yields no spec.
"""

from __future__ import annotations

import dataclasses
import decimal
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from softlaunch import errors
from softlaunch.config import keys, problems, yaml_tree
from softlaunch.core import units

_T = TypeVar("_T")

_INTEGER = re.compile(r"[-+]?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})([eE][-+]?\d{1,2})?", re.ASCII)
_PATH_CHARACTERS_MAX = 255


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """A node, where it hangs, and the notebook for its mistakes."""

    node: yaml_tree.Node
    path: str
    notebook: problems.Notebook

    def wrong(self, message: str, remedy: str) -> None:
        """Writes down that this value is wrong."""
        self.notebook.add(
            line=self.node.line,
            column=self.node.column,
            path=self.path,
            message=message,
            remedy=remedy,
        )

    def expected(self, what: str, *, example: str) -> None:
        """Writes down that something else stands here than `what`."""
        self.wrong(f"Expected {what}, found {yaml_tree.describe(self.node)}.", f"For example: {example}")

    def below(self, key: str, node: yaml_tree.Node) -> Field:
        """The field of a key of this mapping."""
        return Field(node=node, path=yaml_tree.join(self.path, key), notebook=self.notebook)

    @property
    def is_null(self) -> bool:
        """Nothing is written here."""
        return yaml_tree.is_null(self.node)

    @property
    def scalar(self) -> str | None:
        """The text as written; None for a list, a mapping or nothing."""
        return self.node.text if isinstance(self.node, yaml_tree.Scalar) and not self.is_null else None

    def text(self, what: str, *, example: str) -> str:
        """A text; a number or true is taken as it is written only by `scalar`."""
        node = self.node
        if not isinstance(node, yaml_tree.Scalar) or self.is_null or not node.text.strip():
            self.expected(what, example=example)
            return ""
        if node.plain and (_NUMBER.fullmatch(node.text) or node.text in {"true", "false"}):
            self.wrong(
                f"Expected {what}, found '{problems.show(node.text)}'.", "Put it in quotes if it is meant as a text."
            )
        if "\x00" in node.text:
            self.wrong("The text holds a NUL character.", "Remove it.")
        return node.text

    def boolean(self, *, stand_in: bool) -> bool:
        """True or false; YAML's yes, no, on, off are texts."""
        if self.scalar in {"true", "True", "TRUE"}:
            return True
        if self.scalar in {"false", "False", "FALSE"}:
            return False
        self.expected("true or false", example="false")
        return stand_in

    def integer(self, *, minimum: int, maximum: int, stand_in: int) -> int:
        """A whole number between the two, both included."""
        text = self.scalar
        if text is None or not _INTEGER.fullmatch(text):
            self.expected("a whole number", example=str(stand_in))
            return stand_in
        value = int(text)
        if not minimum <= value <= maximum:
            self.wrong(f"{value} is not between {minimum} and {maximum}.", f"For example: {stand_in}")
            return stand_in
        return value

    def number(self, *, above: float, at_most: float, stand_in: float, or_zero: bool = False) -> float:
        """A number above the one and at most the other; `or_zero` allows 0 as well."""
        text = self.scalar
        if text is None or not _NUMBER.fullmatch(text):
            self.expected("a number", example=f"{stand_in:g}")
            return stand_in
        value = float(text)
        if not (above < value <= at_most or (or_zero and value == 0)):
            bound = "below" if or_zero else "not above"
            side = f"{bound} {above:g}" if value <= above else f"above {at_most:g}"
            self.wrong(f"{problems.show(text)} is {side}.", f"For example: {stand_in:g}")
            return stand_in
        return value

    def percent(self) -> decimal.Decimal | None:
        """A percentage with its sign; None when it was none."""
        text = self.scalar
        if text is not None and _NUMBER.fullmatch(text):
            self.wrong(
                f"'{problems.show(text)}' has no percent sign.",
                f"Write {problems.show(text)}%, if that is what is meant.",
            )
            return None
        return self._unit(units.percent, "a percentage", example="5%")

    def duration_seconds(self, *, minimum: float, maximum: float, stand_in: float) -> float:
        """A duration between the two, both included."""
        text = self.scalar
        if text is not None and _NUMBER.fullmatch(text) and text != "0":
            self.wrong(
                f"'{problems.show(text)}' has no unit.", "Write ms, s, m, h or d behind the number, such as 10s."
            )
            return stand_in
        value = self._unit(units.duration_seconds, "a duration", example=units.format_duration(stand_in))
        if value is None:
            return stand_in
        if not minimum <= value <= maximum:
            low, high = units.format_duration(minimum), units.format_duration(maximum)
            self.wrong(
                f"{problems.show(text or '')} is not between {low} and {high}.",
                f"For example: {units.format_duration(stand_in)}",
            )
            return stand_in
        return value

    def _unit(self, read: Callable[[str], _T], what: str, *, example: str) -> _T | None:
        text = self.scalar
        if text is None:
            self.expected(what, example=example)
            return None
        try:
            return read(text)
        except errors.ConfigError as error:
            self.wrong(f"'{problems.show(text)}' is not {what}.", error.remedy)
            return None

    def file_path(self, *, suffixes: tuple[str, ...] = (), example: str) -> str:
        """A path inside the repository, with forward slashes; the file need not exist yet."""
        text = self.text("a path", example=example)
        if not text:
            return text
        parts = text.split("/")
        if text.startswith(("/", "~")) or "\\" in text or ".." in parts or len(text) > _PATH_CHARACTERS_MAX:
            self.wrong(
                f"'{problems.show(text)}' does not stay inside the repository.",
                "Write a path relative to this file, with forward slashes and without '..'.",
            )
        elif suffixes and not text.lower().endswith(suffixes):
            ending = f".{text.rpartition('.')[2]}" if "." in parts[-1] else ""
            self.wrong(f"'{problems.show(text)}' has the wrong ending.", problems.choose(ending, suffixes))
        return text

    def items(self, what: str, *, example: str) -> Iterator[Field]:
        """The fields of a list; nothing, and a mistake, when it is none or empty."""
        node = self.node
        if not isinstance(node, yaml_tree.Sequence):
            self.expected(what, example=example)
            return
        if not node.items:
            self.wrong("The list is empty.", f"For example: {example}")
        for number, item in enumerate(node.items):
            yield Field(node=item, path=f"{self.path}[{number}]", notebook=self.notebook)

    def entries(self, what: str, *, example: str) -> Iterator[tuple[Field, Field]]:
        """Keys and values of a mapping whose keys are names of the user; a mistake when it is none."""
        node = self.node
        if not isinstance(node, yaml_tree.Mapping):
            self.expected(what, example=example)
            return
        for key, value in node.entries:
            yield self.below(key.text, key), self.below(key.text, value)


class Section:
    """A mapping with known keys. Building one writes down every key that does not belong there."""

    def __init__(self, field: Field, name: str) -> None:
        self.field = field
        self.name = name
        self._found: Mapping[str, Field] = {}
        node = field.node
        if isinstance(node, yaml_tree.Mapping):
            self._found = dict(self._checked(node))
        else:
            field.expected("a mapping", example=f"{keys.SECTIONS[name][0].name}: {keys.SECTIONS[name][0].example}")

    def _checked(self, node: yaml_tree.Mapping) -> Iterator[tuple[str, Field]]:
        allowed = keys.names(self.name)
        aliases = keys.ALIASES.get(self.name, {})
        for key, value in node.entries:
            name = aliases.get(key.text, key.text)
            if name not in allowed:
                self._refuse(self.field.below(key.text, key), allowed)
                continue
            below = self.field.below(key.text, value)
            if below.is_null:
                below.wrong(f"'{key.text}' has no value.", "Write one, or remove the key.")
            yield name, below

    def _refuse(self, key: Field, allowed: tuple[str, ...]) -> None:
        written = key.scalar or ""
        today = keys.NOT_BUILT.get(self.name, {}).get(written)
        if today is not None:
            key.wrong(*not_built(written, today))
            return
        elsewhere = [name for name in keys.SECTIONS if written in keys.names(name)]
        message = f"There is no key '{problems.show(written)}' here."
        if problems.nearest(written, allowed) is None and elsewhere:
            key.wrong(message, f"It belongs to {elsewhere[0]}. Allowed here: {', '.join(allowed)}.")
        else:
            key.wrong(message, problems.choose(written, allowed))

    def get(self, key: str) -> Field | None:
        """The field of a key; None when it is absent, or present without a value (which was written down)."""
        found = self._found.get(key)
        return None if found is None or found.is_null else found

    def has(self, key: str) -> bool:
        """The key is written, with a value or without."""
        return key in self._found

    def need(self, key: str) -> Field | None:
        """As `get`; an absent key is a mistake."""
        if key not in self._found and isinstance(self.field.node, yaml_tree.Mapping):
            example = next(found.example for found in keys.SECTIONS[self.name] if found.name == key)
            self.field.wrong(f"The key '{key}' is missing.", f"For example: {key}: {example}")
        return self.get(key)


def not_built(name: str, today: str) -> tuple[str, str]:
    """Message and remedy for a word of softlaunch's world whose feature does not exist yet."""
    return f"'{name}' is not built yet.", today
