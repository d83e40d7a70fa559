"""
Users who have left a guardrail's risk set, by hash: their names are never stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from softlaunch.core import spec

COUNTED = (spec.GuardrailName.ERRORS, spec.GuardrailName.CLIENT_ERRORS, spec.GuardrailName.INVALID)
"""Guardrails whose events are bad answers, and of which a user's first event counts; a set of them is a bit mask."""

_MEMO_MAX = 65_536
"""Keys whose hash is remembered, because hashing costs more than looking up; then it starts over."""


class DepartedKey(NamedTuple):
    """A user whose first event in a guardrail was counted. `key_hash` is an unsigned 64-bit integer."""

    guardrail: spec.GuardrailName
    key_hash: int


def key_hash(key: str) -> int:
    """The same unsigned 64-bit number for a key in every process."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


class DepartedKeys:
    """Which users have left which guardrails."""

    __slots__ = ("_masks", "_memo", "_new")

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}
        self._memo: dict[str, int] = {}
        self._new: list[DepartedKey] = []

    def __len__(self) -> int:
        return len(self._masks)

    def mask(self, key: str) -> int:
        """Bit `index` is set when the user has left COUNTED[index]."""
        return self._masks.get(self._hash(key), 0)

    def leave(self, key: str, index: int) -> None:
        """Remember that the user has left COUNTED[index]."""
        hashed = self._hash(key)
        self._masks[hashed] = self._masks.get(hashed, 0) | 1 << index
        self._new.append(DepartedKey(COUNTED[index], hashed))

    def take_new(self) -> list[DepartedKey]:
        """Those who left since the last call."""
        taken, self._new = self._new, []
        return taken

    def load(self, keys: Iterable[DepartedKey]) -> None:
        """Go on with everybody who left before, in any order."""
        for guardrail, hashed in keys:
            self._masks[hashed] = self._masks.get(hashed, 0) | 1 << COUNTED.index(spec.GuardrailName(guardrail))

    def _hash(self, key: str) -> int:
        hashed = self._memo.get(key)
        if hashed is None:
            if len(self._memo) >= _MEMO_MAX:
                self._memo.clear()
            hashed = self._memo[key] = key_hash(key)
        return hashed
