"""A spool in memory; see ports.spool.Spool."""

from __future__ import annotations

import collections
from collections.abc import Iterator

from softlaunch.core import spool
from softlaunch.ports import spool as port


class MemorySpool:
    """See ports.spool.Spool. Every process writes one segment that never ends."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], dict[str, list[spool.Record]]] = collections.defaultdict(dict)

    def write(self, service: str, environment: str, record: spool.Record) -> None:
        """Appends a record, as the process it names would."""
        self._places[service, environment].setdefault(f"{record.release}-{record.instance}", []).append(record)

    def end(self, service: str, environment: str) -> port.Cursor:
        """See ports.spool.Spool.end."""
        segments = self._places.get((service, environment), {})
        return port.Cursor(offsets={name: len(records) for name, records in segments.items()})

    def read(
        self, service: str, environment: str, cursor: port.Cursor, *, record_count_max: int = 10_000
    ) -> port.SpoolBatch:
        """See ports.spool.Spool.read."""
        offsets = dict(cursor.offsets)
        found: list[spool.Record] = []
        for name, records in self._places.get((service, environment), {}).items():
            start = offsets.get(name, 0)
            taken = records[start : start + record_count_max - len(found)]
            found += taken
            offsets[name] = start + len(taken)
        return port.SpoolBatch(records=tuple(found), cursor=port.Cursor(offsets=offsets))

    def scan(self, service: str, environment: str, *, since: float, until: float) -> Iterator[spool.Record]:
        """See ports.spool.Spool.scan."""
        segments = self._places.get((service, environment), {}).values()
        found = [record for records in segments for record in records if since <= record.at < until]
        return iter(sorted(found, key=lambda record: record.at))

    def find(self, request_id: str) -> tuple[spool.Record, ...]:
        """See ports.spool.Spool.find."""
        places = self._places.values()
        found = [record for segments in places for records in segments.values() for record in records]
        return tuple(sorted((record for record in found if record.request_id == request_id), key=lambda each: each.arm))
