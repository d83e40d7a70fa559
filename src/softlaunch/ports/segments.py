"""Segments of the spool, as they are moved into the log: groups of records, and an account of what is no record."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Protocol

from softlaunch.core import spool


class Reason(enum.StrEnum):
    """Why bytes of a segment are not in the log."""

    HEADER = "header"
    """The segment's own beginning is damaged, or of a version that is not known: nothing of it can be read."""
    CHECKSUM = "checksum"
    TORN = "torn"
    """It ends in the middle of a group, and its process is gone."""
    CONTENT = "content"
    """The checksum fits, but what it covers is no group of records."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Damage:
    segment: str
    offset: int
    """At or before the place."""
    byte_count: int
    reason: Reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups:
    groups: tuple[tuple[spool.Header, spool.Group], ...]
    """Of one process in the order it answered."""
    record_count: int
    offsets: dict[str, int]
    """Behind them."""
    damaged: tuple[Damage, ...]
    lost_bytes: int
    """In segments that were deleted for room before all of them was read; those nobody ever saw are not known."""
    read_until: float | None = None
    """Unix seconds; what was answered later may be in segments that are not read yet. None: all was read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Waiting:
    segment_count: int
    byte_count: int


class Segments(Protocol):
    def places(self) -> Sequence[tuple[str, str]]:
        """Services and environments with a spool."""
        ...

    def read(self, service: str, environment: str, offsets: dict[str, int], *, record_count_max: int) -> Groups:
        """Groups behind `offsets`; with the last one it may be more records than asked for."""
        ...

    def waiting(self, service: str, environment: str, offsets: dict[str, int]) -> Waiting:
        """What is behind `offsets`."""
        ...
