"""
The chain of hashes that runs through the history: who edits a record breaks it there.

Each record's hash covers every field as it is stored, and the hash of the record before it. A chain alone cannot show
that its end was cut off, nor that all of it was written anew; so the number and hash of the latest record are kept in a
second place as well (heads), and both are compared. Rules:

1. Records are taken in the order of their numbers; the first follows GENESIS.
2. A head that names a record which is not there, or is there with another hash, is a broken history.
3. Records after the last head are no mistake: who is killed between writing a record and its head leaves that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping

from softlaunch import errors

GENESIS = "0" * 64
"""What the first record follows."""
_DOMAIN = b"softlaunch history 1\n"
_HEAD = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")
_PROBLEMS_MAX = 20
"""Told in full; of more, their count."""

Fields = tuple[int, float, str, str, int | None, str, str, str]
_KINDS = (
    ("id", (int,)),
    ("at", (float,)),
    ("service", (str,)),
    ("environment", (str,)),
    ("rollout_id", (int, type(None))),
    ("kind", (str,)),
    ("text", (str,)),
    ("facts", (str,)),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One record of the history, exactly as it is stored; an edited one may hold anything anywhere."""

    id: int
    at: float
    service: str
    environment: str
    rollout_id: int | None
    kind: str
    text: str
    facts: str
    """JSON text."""
    hash: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """The latest record there was at some moment."""

    id: int
    hash: str
    first: bool = False
    """No head of an earlier record was kept: there were none before, or somebody took them away."""

    def __str__(self) -> str:
        return f"{self.id}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head | None:
        """`ID:HASH` as `__str__` writes it; None when it is not that."""
        found = _HEAD.fullmatch(text)
        return None if found is None else cls(id=int(found[1]), hash=found[2])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    record_id: int
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """What became of checking a history."""

    record_count: int
    head: Head | None
    """The last record there is; None of an empty history."""
    problems: tuple[Problem, ...]
    """By record; at most the first twenty."""
    problem_count: int
    heads_count: int
    unheaded_count: int
    """Records after the last head: nothing but the chain vouches for these."""
    unknown_before: int = 0
    """Heads of records before this one were not kept, so that these may have been written anew before it; 0: none."""

    @property
    def intact(self) -> bool:
        return not self.problem_count


def link(previous: str, record: Record) -> str:
    """
    The hash of a record that follows one with the hash `previous`; its own `hash` is not looked at.

    Raises:
        InvariantError: a field is not of its kind.
    """
    values = [getattr(record, name) for name, _ in _KINDS]
    for (name, kinds), value in zip(_KINDS, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise errors.InvariantError(f"The {name} of a history record is {type(value).__name__}.")
    try:
        text = json.dumps([previous, *values], separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except ValueError as error:
        raise errors.InvariantError(f"The time of a history record is {record.at}.") from error
    return hashlib.sha256(_DOMAIN + text.encode()).hexdigest()


def chain(after: Head | None, records: Iterable[Record]) -> list[Record]:
    """New records with their numbers and hashes, following the last one there is; both are ignored in what is given."""
    number, previous = (0, GENESIS) if after is None else (after.id, after.hash)
    linked = []
    for record in records:
        number += 1
        numbered = dataclasses.replace(record, id=number)
        previous = link(previous, numbered)
        linked.append(dataclasses.replace(numbered, hash=previous))
    return linked


def verify(records: Iterable[Record], heads: Iterable[Head]) -> Verification:
    """
    Checks every record, and every head against the records.

    Args:
        records: All of the history, by number.
        heads: What a second place knows of it, in any order.
    """
    told: dict[int, set[str]] = {}
    unknown_before = 0
    for head in heads:
        told.setdefault(head.id, set()).add(head.hash)
        unknown_before = max(unknown_before, head.id if head.first else 0)
    problems: list[Problem] = []
    previous, last, count, seen = GENESIS, None, 0, set()
    for record in records:
        count += 1
        problem = _problem(previous, last, record)
        if problem is None and told.get(record.id, {record.hash}) != {record.hash}:
            problem = "is not the one whose hash was kept: it, or one before it, was written anew"
        if problem is not None:
            problems.append(Problem(record_id=record.id, text=f"Record {record.id} {problem}."))
        seen.add(record.id)
        previous, last = record.hash, record.id
    head_last = max(told, default=0)
    if head_last > (last or 0):
        missing = f"Records after {last or 0} are missing: {head_last} was the last that was written."
        problems.append(Problem(record_id=(last or 0) + 1, text=missing))
    elif head_last and head_last not in seen:
        problems.append(Problem(record_id=head_last, text=f"Record {head_last} is missing: it was the last once."))
    return Verification(
        record_count=count,
        head=None if last is None else Head(id=last, hash=str(previous)),
        problems=tuple(sorted(problems, key=lambda found: found.record_id)[:_PROBLEMS_MAX]),
        problem_count=len(problems),
        heads_count=len(told),
        unheaded_count=max(0, (last or 0) - head_last),
        unknown_before=unknown_before,
    )


def _problem(previous: str, last: int | None, record: Record) -> str | None:
    """What is wrong with a record that stands after `last`, whose hash is `previous`."""
    try:
        if link(previous, record) == record.hash:
            return None
    except errors.InvariantError as error:
        return f"was edited: {error.message.rstrip('.')}"
    expected = (last or 0) + 1
    if record.id > expected:
        gone = f"record {expected} is" if record.id == expected + 1 else f"records {expected} to {record.id - 1} are"
        return f"does not follow what stands before it: {gone} missing"
    return "was edited, or does not follow the record before it"


def canonical(facts: Mapping[str, object]) -> str:
    """Facts as they are stored: canonical JSON."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
