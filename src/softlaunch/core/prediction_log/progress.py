"""
How far a spool was moved into the log, and what was met on the way: part of every commit, so it is true or not there.

The place in the spool and the rows before it are written by one commit. After a crash the table alone says where to go
on, and nothing else has to agree with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

COUNTED = (
    "rows", "records", "unmatched", "damaged_places", "damaged_bytes", "lost_bytes", "dropped", "unacknowledged",
    "duplicates",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """Of one spool: a service in an environment; or of one part of a stream of such."""

    version: int = 0
    """Number of its last append; 0 before the first."""
    offsets: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """By segment, and of a stream by its part: everything before is in the table."""
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
    attempts_file: int = 0
    """With the next: up to there the gateway's log was compared with what came, and what did not is counted."""
    attempts_offset: int = 0
    attempts_ended_at: float = 0.0
    """Unix seconds; the last of what was compared ended then."""
    profiles: str = ""
    """Mark of the live profiles that count the rows of the last append; empty: none were counted."""
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of a later version: passed on as they are."""

    def to_json(self) -> dict[str, Any]:
        found = dataclasses.asdict(self)
        more = found.pop("more")
        return {**more, **found}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Progress:
        """What `to_json` wrote, of whichever version."""
        known = {field.name for field in dataclasses.fields(cls)} - {"more"}
        more = {name: value for name, value in document.items() if name not in known}
        return cls(more=more, **{name: value for name, value in document.items() if name in known})
