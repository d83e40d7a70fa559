"""
How far a spool was moved into the log, and what was met on the way: part of every commit, so it is true or not there.

The place in the spool and the rows before it are written by one commit. After a crash the table alone says where to go
on, and nothing else has to agree with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

COUNTED = ("rows", "records", "unmatched", "damaged_places", "damaged_bytes", "lost_bytes", "dropped")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """Of one spool: a service in an environment."""

    version: int = 0
    """Number of its last append; 0 before the first."""
    offsets: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """By segment: everything before is in the table."""
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """COUNTED, since the table's first row."""
    damage: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Places that could not be read, by reason."""
    unread: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Rows whose features or answer could not be told, by reason; they are in the table without them."""
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """By process with a segment here: records it could not write, as it told last."""
    time_max: float = 0.0
    """Unix seconds of the newest row."""
    profiles: str = ""
    """Mark of the live profiles that count the rows of the last append; empty: none were counted."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Progress:
        """What `to_json` wrote; fields of a later version are left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})
