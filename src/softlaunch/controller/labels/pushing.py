"""Files of labels into the inbox: each row read, what does not fit set aside, and a file that comes twice kept once."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from softlaunch.core.labels import record, rules

PART_LABELS = 100_000
"""In one push of the inbox; a larger file is several."""
_BAD_MAX = 100_000
_UNUSED_MAX = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mapped:
    """Which column is what of a label, and what holds for all rows."""

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Member to column; members without one are columns of their own name, if there are such."""
    name: str = record.NAME_DEFAULT
    event: str | None = None
    """Every row is this event."""
    key_name: str | None = None

    @classmethod
    def of(cls, columns: Sequence[str], *, name: str | None, event: str | None, key_name: str | None) -> Mapped:
        """
        From what a user wrote.

        Args:
            columns: "value=is_late".
            name: Of labels; None: the default one.
            event: See Mapped.
            key_name: Of the business key that the key's column has; None: the sticky key.

        Raises:
            ConfigError: a column is given to nothing, or both name and event.
        """
        found: dict[str, str] = {}
        for each in columns:
            member, mark, column = each.partition("=")
            if not mark or not column or member not in record.MEMBERS or member in found:
                raise rules.refuse(
                    f"--column {each!r:.120} cannot be used.",
                    f"Write MEMBER=COLUMN, each member once: {', '.join(record.MEMBERS)}.",
                )
            found[member] = column
        if name is not None and event is not None:
            raise rules.refuse("Both --name and --event are given.", "An event's name is the label's: give one.")
        for each_name in filter(None, (name, event)):
            try:
                record.name_of(each_name)
            except record.UnfitError as error:
                raise rules.refuse(f"{each_name!r:.120}: {error}.", "Choose another name.") from error
        return cls(columns=found, name=name or record.NAME_DEFAULT, event=event, key_name=key_name)

    def document(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
        """A label's document from a row, and the row's columns that are nothing of it."""
        taken = set(self.columns.values())
        found = {member: row.get(column) for member, column in self.columns.items()}
        for column, value in row.items():
            if column in record.MEMBERS and column not in self.columns and column not in taken:
                found[column] = value
                taken.add(column)
        if self.event is not None:
            found["event"] = self.event
        if self.key_name is not None:
            found.setdefault("key_name", self.key_name)
        return found, {str(column) for column in row} - taken


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bad:
    """A row that is no label."""

    line: int
    reason: str
    text: str


@dataclasses.dataclass(kw_only=True)
class Outcome:
    labels: int = 0
    """Put into the inbox, or would be."""
    before: int = 0
    """Were pushed before, by this very file."""
    empty: int = 0
    """Rows without a value: nothing is known of them yet."""
    bad: list[Bad] = dataclasses.field(default_factory=list)
    """The first 100,000."""
    reasons: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    unused: set[str] = dataclasses.field(default_factory=set)
    names: list[str] = dataclasses.field(default_factory=list)
    """Of the pushes that wait."""


def push(
    rows: Iterable[tuple[int, bytes | Mapping[str, Any]]],
    *,
    mapped: Mapped,
    textual: bool,
    unit: str,
    now: float,
    keep: Callable[[str, Sequence[record.Label]], bool],
    tell: Callable[[int], None],
) -> Outcome:
    """
    Reads rows and keeps their labels.

    Args:
        rows: Number of the line, and the line: JSON or columns.
        mapped: What is what.
        textual: Numbers are written as text.
        unit: Names this file, read this way; parts of it are named by it.
        now: Unix seconds.
        keep: Keeps a part by its name; False if it was kept before.
        tell: Called with the labels so far.

    Raises:
        ConfigError: there are rows, and none of them is a label; nothing was kept.
    """
    outcome = Outcome()
    part: list[record.Label] = []
    for label in _labels(rows, mapped, outcome, textual=textual, now=now):
        part.append(label)
        if len(part) == PART_LABELS:
            _keep(part, unit, outcome, keep)
            tell(outcome.labels + outcome.before)
            part = []
    if part:
        _keep(part, unit, outcome, keep)
    if outcome.bad and not (outcome.labels or outcome.before or outcome.empty):
        first = outcome.bad[0]
        unused = ", ".join(sorted(outcome.unused))
        raise rules.refuse(
            f"No row is a label; line {first.line}: {first.reason}.",
            f"Say which column is what: --column prediction_id=COLUMN --column value=COLUMN. Not used are {unused}."
            if unused
            else "Look at the file.",
        )
    return outcome


def _keep(
    part: list[record.Label], unit: str, outcome: Outcome, keep: Callable[[str, Sequence[record.Label]], bool]
) -> None:
    name = f"{unit}-{(outcome.labels + outcome.before) // PART_LABELS:04d}"
    if keep(name, part):
        outcome.labels += len(part)
        outcome.names.append(name)
    else:
        outcome.before += len(part)


def _labels(
    rows: Iterable[tuple[int, bytes | Mapping[str, Any]]],
    mapped: Mapped,
    outcome: Outcome,
    *,
    textual: bool,
    now: float,
) -> Iterator[record.Label]:
    for number, content in rows:
        try:
            document, unused = mapped.document(_row(content))
            if len(outcome.unused) < _UNUSED_MAX:
                outcome.unused |= unused
            label = record.parse(document, now=now, textual=textual, name=mapped.name)
        except record.UnfitError as error:
            outcome.reasons[str(error)] += 1
            if len(outcome.bad) < _BAD_MAX:
                text = (
                    content.decode(errors="replace") if isinstance(content, bytes) else json.dumps(content, default=str)
                )
                outcome.bad.append(Bad(line=number, reason=str(error), text=text))
            continue
        if label is None:
            outcome.empty += 1
        else:
            yield label


def _row(content: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(content, bytes):
        if "" in content:
            raise record.UnfitError(str(content[""]))  # the file's reader says what is wrong with the line
        return content
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise record.UnfitError("no JSON") from error
    if not isinstance(found, dict):
        raise record.UnfitError("no JSON object")
    return found
