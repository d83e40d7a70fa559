"""Segments of the spool, as they are moved into the log: groups of records, and an account of what is no record."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Protocol

from softlaunch.core import spool
from softlaunch.core.prediction_log import stream


class Reason(enum.StrEnum):
    """Why bytes of a segment are not in the log."""

    HEADER = "header"
    """The segment's own beginning is damaged, or of a version that is not known: nothing of it can be read."""
    CHECKSUM = "checksum"
    TORN = "torn"
    """It ends in the middle of a group, and its process is gone."""
    CONTENT = "content"
    """The checksum fits, but what it covers is no group of records."""
    VERSION = "version"
    """A message of a stream that a newer release has sent."""
    SIZE = "size"
    """A group that the stream does not take, for its length."""
    EXPIRED = "expired"
    """The stream has deleted it before it was read."""


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
    duplicate_count: int = 0
    """Groups that came twice, and are left out: a stream brings them, a spool never does."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Waiting:
    segment_count: int
    byte_count: int
    message_count: int = 0
    """Of a stream, which knows no more."""


def environment_of(source: str) -> str:
    """The environment of a place: `ENVIRONMENT` for a spool, `ENVIRONMENT@TOPIC/PARTITION` for a part of a stream."""
    return source.partition("@")[0]


class Segments(Protocol):
    def places(self) -> Sequence[tuple[str, str]]:
        """Services, and for each what is read of it: an environment's spool, or a part of its stream."""
        ...

    def read(self, service: str, environment: str, offsets: dict[str, int], *, record_count_max: int) -> Groups:
        """
        Groups behind `offsets`; with the last one it may be more records than asked for.

        What was only just added to a stream may come with a later call.
        """
        ...

    def waiting(self, service: str, environment: str, offsets: dict[str, int]) -> Waiting:
        """What is behind `offsets`."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pieces:
    pieces: tuple[stream.Frame | stream.Hole, ...]
    """Those of one segment in their order."""
    offsets: dict[str, int]
    """Behind them, of segments that are there."""


class Raw(Protocol):
    def places(self) -> Sequence[tuple[str, str]]:
        """Services and environments with a spool."""
        ...

    def pieces(self, service: str, environment: str, offsets: dict[str, int], *, byte_count_max: int) -> Pieces:
        """Frames behind `offsets` as they are, and what is none; with the last one it may be more than asked for."""
        ...
