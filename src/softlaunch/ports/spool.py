"""The spool: predictions that model servers recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from softlaunch.core import spool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cursor:
    """Up to where one service in one environment was read; an empty one stands before everything."""

    offsets: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """By segment."""

    def to_json(self) -> dict[str, Any]:
        """A small JSON object; `from_json` makes an equal cursor of it."""
        return {"offsets": dict(self.offsets)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Cursor:
        """The cursor `to_json` wrote."""
        return cls(offsets={str(name): int(offset) for name, offset in document["offsets"].items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpoolBatch:
    records: tuple[spool.Record, ...]
    """Of one process in the order it answered; those of several processes are not sorted."""
    cursor: Cursor
    damage_count: int = 0
    """Places that could not be read, with good records behind them."""


class Spool(Protocol):
    def end(self, service: str, environment: str) -> Cursor:
        """A cursor behind everything recorded so far."""
        ...

    def read(self, service: str, environment: str, cursor: Cursor, *, record_count_max: int = 10_000) -> SpoolBatch:
        """
        Records written after `cursor`, of all processes; each once, whatever is being written meanwhile.

        Model servers write records in groups, which are read whole: with the last one it may be more than
        `record_count_max`. Segments deleted for room before they were read are gone silently: the oldest go first.
        """
        ...

    def scan(self, service: str, environment: str, *, since: float, until: float) -> Iterator[spool.Record]:
        """
        Records of requests that came in [since, until) (Unix seconds), in the order of time but for requests that
        overlapped.
        """
        ...

    def find(self, request_id: str) -> tuple[spool.Record, ...]:
        """Every record of that request in any service and environment: primary first."""
        ...
