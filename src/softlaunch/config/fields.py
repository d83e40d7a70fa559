"""
Fields: one value of the file with its path, read as what it should be.

Every reading method returns the value, or writes the mistake down and returns the given stand-in, so that reading goes
on and the next mistake is found too. The stand-in is never used: a file with a mistake yields no spec.
"""

from __future__ import annotations

import dataclasses
import decimal
import enum
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from softlaunch import errors
from softlaunch.config import keys, problems, yaml_tree
from softlaunch.core import pins, units

_T = TypeVar("_T")
_Choice = TypeVar("_Choice", bound=enum.StrEnum)

_INTEGER = re.compile(r"[-+]?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})([eE][-+]?\d{1,2})?", re.ASCII)
_PATH_CHARACTERS_MAX = 255
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_RESERVED_HEADERS = ("x-softlaunch-", "x-envoy-")


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

    def data_place(self, *, suffixes: tuple[str, ...], example: str) -> str:
        """A path as `file_path` takes it, or the URL of a file."""
        text = self.scalar or ""
        if "://" not in text:
            return self.file_path(suffixes=suffixes, example=example)
        found = self.file_url(example=f"s3://bucket/{example}")
        if found and not pins.file_name(found).lower().endswith(suffixes):
            self.wrong(f"'{problems.show(text)}' has the wrong ending.", f"Allowed: {', '.join(suffixes)}")
        return found

    def file_url(self, *, example: str) -> str:
        """The URL of a file or of an object in a bucket, without a password."""
        text = self.text("a URL", example=example)
        if not text:
            return text
        try:
            parts = urllib.parse.urlsplit(text)
            usable = pins.is_url(text) and bool(parts.hostname) and " " not in text
            usable = usable and (parts.scheme not in pins.OBJECT_SCHEMES or len(parts.path) > 1)
            secret = parts.password is not None
        except ValueError:
            usable = secret = False
        if not usable:
            # Before an @ may stand a password, also where the rest is damaged.
            shown = f"'{problems.show(text)}'" if "@" not in text else "This"
            kinds = ", ".join(pins.URL_SCHEMES)
            self.wrong(f"{shown} is not the URL of a file ({kinds}).", f"For example: {example}")
        elif secret:
            self.wrong(
                "The URL holds a password.", "Remove it: this file is committed. Put the file where it may be read."
            )
        return text

    def weight(self) -> int | None:
        """A share above 0 in 1/10000; None when it was none."""
        value = self.percent()
        if value is None:
            return None
        try:
            weight = units.weight_from_percent(value)
        except errors.ConfigError as error:
            self.wrong(f"'{problems.show(self.scalar or '')}' is not a share of traffic.", error.remedy)
            return None
        if weight == 0:
            self.wrong("A step of 0% gives the candidate no traffic.", "Start at 1%, or at 0.01% and above.")
            return None
        return weight

    def rate_percent(self, meaning: str, *, at_most: int, stand_in: float) -> float:
        """A percentage above 0 and at most the given one; `meaning` says what it is and gives an example."""
        value = self.percent()
        if value is None:
            return stand_in
        if not 0 < value <= at_most:
            side = f"above {at_most}%" if value > at_most else "no rate"
            self.wrong(f"{problems.show(self.scalar or '')} is {side}.", meaning)
            return stand_in
        return float(value)

    def byte_count(self, *, minimum: int, maximum: int, stand_in: int) -> int:
        """A size between the two, both included."""
        value = self._unit(units.byte_count, "a size", example=units.format_bytes(stand_in))
        if value is None:
            return stand_in
        if not minimum <= value <= maximum:
            low, high = units.format_bytes(minimum), units.format_bytes(maximum)
            self.wrong(
                f"{problems.show(self.scalar or '')} is not between {low} and {high}.",
                f"For example: {units.format_bytes(stand_in)}",
            )
            return stand_in
        return value

    def choice(self, kind: type[_Choice], *, stand_in: _Choice) -> _Choice:
        """One of the words of an enumeration."""
        allowed = tuple(found.value for found in kind)
        if self.scalar is None:
            self.expected("a word", example=stand_in.value)
        elif self.scalar in allowed:
            return kind(self.scalar)
        else:
            self.wrong(f"'{problems.show(self.scalar)}' is not allowed.", problems.choose(self.scalar, allowed))
        return stand_in

    def header(self) -> str:
        """The name of a request header, in lower case."""
        text = self.text("the name of a request header", example="x-user-id").lower()
        if text and not _HEADER.fullmatch(text):
            self.wrong(f"'{problems.show(text)}' cannot name a header.", "For example: x-user-id")
        elif text.startswith(_RESERVED_HEADERS):
            self.wrong(
                f"'{problems.show(text)}' belongs to the gateway.",
                "Name a header your clients send, such as x-user-id.",
            )
        return text

    def url(self, *, example: str, bare: bool = False) -> str:
        """An http or https URL without a password; `bare` allows no path either."""
        text = self.text("a URL", example=example)
        if not text:
            return text
        try:
            parts = urllib.parse.urlsplit(text)
            usable = (
                parts.scheme in {"http", "https"} and bool(parts.hostname) and not re.search(r"[\s\x00-\x1f]", text)
            )
            usable = usable and (parts.port is None or parts.port > 0)
            user = "@" in parts.netloc
            rest = parts.path not in {"", "/"} or "?" in text or "#" in text
        except ValueError:
            usable = user = rest = False
        if not usable:
            # Before an @ may stand a password, also where the rest is damaged.
            shown = f"'{problems.show(text)}'" if "@" not in text else "This"
            self.wrong(f"{shown} is not an http or https URL.", f"For example: {example}")
        elif user:
            self.wrong("The URL holds a user or a password.", "Remove it: this file is committed.")
        elif bare and rest:
            self.wrong(f"'{problems.show(text)}' has a path.", f"Keep scheme, host and port: {example}")
        return text.rstrip("/") if bare else text

    def texts(self, what: str, *, example: str, count_max: int) -> tuple[str, ...]:
        """A list of distinct texts as they are written, or one of them."""
        one = self.scalar is not None
        found: list[str] = []
        for item in (self,) if one else tuple(self.items(f"a list of {what}s", example=example)):
            text = item.scalar
            if not text or not text.isprintable() or text != text.strip():
                item.expected(f"a {what}", example=example)
            elif text in found:
                item.wrong(f"'{problems.show(text)}' stands here twice.", "Keep one of them.")
            else:
                found.append(text)
        if len(found) > count_max:
            self.wrong(f"There are {len(found)} {what}s, more than {count_max}.", "Keep fewer.")
        return tuple(found)

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

    def one_of(self, *names: str) -> str | None:
        """The one of these keys that is written; none or several is a mistake."""
        found = [name for name in names if self.has(name)]
        if len(found) == 1:
            return found[0]
        if found:
            self.field.wrong(f"{' and '.join(f'`{name}`' for name in found)} exclude each other.", "Keep one of them.")
        elif isinstance(self.field.node, yaml_tree.Mapping):
            self.field.wrong(f"None of {', '.join(names)} stands here.", "Write one of them.")
        return None

    def only_with(self, owner: str, *names: str) -> None:
        """Writes down each of these keys as one that belongs to another only."""
        for name in names:
            found = self.get(name)
            if found is not None:
                found.wrong(f"`{name}` goes with `{owner}` only.", f"Remove it, or write `{owner}`.")

    def need(self, key: str) -> Field | None:
        """As `get`; an absent key is a mistake."""
        if key not in self._found and isinstance(self.field.node, yaml_tree.Mapping):
            example = next(found.example for found in keys.SECTIONS[self.name] if found.name == key)
            self.field.wrong(f"The key '{key}' is missing.", f"For example: {key}: {example}")
        return self.get(key)


def not_built(name: str, today: str) -> tuple[str, str]:
    """Message and remedy for a word of softlaunch's world whose feature does not exist yet."""
    return f"'{name}' is not built yet.", today
