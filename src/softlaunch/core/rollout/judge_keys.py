"""
How many bad answers each user has had, by hash: users' names are never stored.

A user is in the stratum of a guardrail that says how many of its events the user has had (0, 1, 2, ...). An event is
stored as a hash of the user's key and the event's number, so that what is stored is a growing set, and the number is
how far the chain of hashes reaches.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from softlaunch.core import spec

COUNTED = (spec.GuardrailName.ERRORS, spec.GuardrailName.CLIENT_ERRORS, spec.GuardrailName.INVALID)
"""Guardrails whose events are bad answers, in the order of a user's counts."""

STRATA = 20
"""After so many events of a guardrail a user counts there no more: a bound on what is stored, and a guess."""

NO_EVENTS = (0,) * len(COUNTED)

_MEMO_MAX = 65_536
"""Keys whose counts are remembered, because hashing costs more than looking up; then it starts over."""


class DepartedKey(NamedTuple):
    """A user who left a stratum of a guardrail by an event. `key_hash` is an unsigned 64-bit integer."""

    guardrail: spec.GuardrailName
    key_hash: int


def key_hash(key: str, number: int) -> int:
    """The same unsigned 64-bit number for a user's event in every process."""
    found = hashlib.blake2b(key.encode(), digest_size=8, salt=number.to_bytes(16, "big"))
    return int.from_bytes(found.digest(), "big")


class DepartedKeys:
    """How many events of each guardrail every user has had, up to STRATA."""

    __slots__ = ("_counts", "_new", "_seen")

    def __init__(self) -> None:
        self._seen: tuple[set[int], ...] = tuple(set() for _ in COUNTED)
        self._counts: dict[str, tuple[int, ...]] = {}
        self._new: list[DepartedKey] = []

    def counts(self, key: str) -> tuple[int, ...]:
        """The user's events, in the order of COUNTED."""
        found = self._counts.get(key)
        if found is None:
            if len(self._counts) >= _MEMO_MAX:
                self._counts.clear()
            found = self._counts[key] = self._reach(key)
        return found

    def leave(self, key: str, index: int) -> None:
        """Count an event of COUNTED[index]; not more than STRATA times."""
        counts = list(self.counts(key))
        counts[index] += 1
        hashed = key_hash(key, counts[index])
        self._seen[index].add(hashed)
        self._counts[key] = tuple(counts)
        self._new.append(DepartedKey(COUNTED[index], hashed))

    def take_new(self) -> list[DepartedKey]:
        """Events counted since the last call."""
        taken, self._new = self._new, []
        return taken

    def load(self, keys: Iterable[DepartedKey]) -> None:
        """Go on from everything `take_new` ever gave, in any order."""
        for guardrail, hashed in keys:
            self._seen[COUNTED.index(spec.GuardrailName(guardrail))].add(hashed)
        self._counts.clear()

    def _reach(self, key: str) -> tuple[int, ...]:
        first = key_hash(key, 1)
        if not any(first in seen for seen in self._seen):
            return NO_EVENTS
        counts = []
        for seen in self._seen:
            number = 0
            while number < STRATA and key_hash(key, number + 1) in seen:
                number += 1
            counts.append(number)
        return tuple(counts)


_SLOTS = 32_768
"""Slots for users: 4 KiB a guardrail. After 20,000 users 46 % of the slots are taken; a guess at enough."""


class UserSlots:
    """
    Which users were counted, in bounded room: two users of one slot are taken for one.

    Whether a slot is taken says nothing about arm or answer of the next user who falls into it, so a collision costs an
    observation and makes none wrong.

    In a shadow both releases answer the same request, one attempt right after the other, and both count or neither.
    """

    __slots__ = ("_last", "_taken")

    def __init__(self) -> None:
        self._taken: bytearray | None = None
        self._last = ""
        """Id of the request that took a slot last."""

    def take(self, key: str, request_id: str, *, admitted: float = 1.0) -> bool:
        """Whether the user is counted now: nobody was in the slot, and the user is of the share that is admitted."""
        if request_id and request_id == self._last:
            return True
        hashed = key_hash(key, 0)
        if (hashed >> 32) / 2**32 >= admitted:
            return False
        slot = hashed % _SLOTS
        if self._taken is None:
            self._taken = bytearray(_SLOTS // 8)
        bit = 1 << (slot & 7)
        if self._taken[slot >> 3] & bit:
            return False
        self._taken[slot >> 3] |= bit
        self._last = request_id
        return True

    def taken(self, key: str, request_id: str) -> bool:
        """Whether somebody was counted in the user's slot, by another request."""
        if self._taken is None or (request_id and request_id == self._last):
            return False
        slot = key_hash(key, 0) % _SLOTS
        return bool(self._taken[slot >> 3] & (1 << (slot & 7)))

    def state(self) -> list[str]:
        """A JSON-able list; `load` goes on from it."""
        taken = "" if self._taken is None else base64.b64encode(zlib.compress(bytes(self._taken))).decode("ascii")
        return [taken, self._last]

    def load(self, state: Sequence[str]) -> None:
        """Go on from `state()`."""
        taken, self._last = state
        self._taken = bytearray(zlib.decompress(base64.b64decode(taken))) if taken else None
