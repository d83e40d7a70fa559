"""
The shipper: what model servers spooled becomes rows of the prediction log, each exactly once.

    spool segments ──► batch (closed by count or age) ──► attempts of the gateway joined ──► one commit
                                                                                              rows + place in the spool

The table alone remembers how far the spool was read: the commit that adds rows tells it. A shipper killed at any moment
leaves a table that has a batch whole, with its place, or not at all; the next one goes on from there. So a record that
was written to the spool is in the log once, unless it was deleted for room before it was moved, or damaged: both are
counted, and the rest goes on.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from softlaunch import errors
from softlaunch.controller.prediction_log import accounting, appending, decoding, joining, outages, profiling
from softlaunch.core import release, spool
from softlaunch.core.prediction_log import progress, schema
from softlaunch.ports import gateway, segments
from softlaunch.ports import lake as lakes

LOG = structlog.get_logger()

RECORDS_MAX = 50_000
"""In a batch: some 200 MB while it is moved, a file of some 2 MB."""
EVERY_SECONDS = 30.0
"""A batch is closed when it is so old: at most 2,880 commits a day, and the log is half a minute behind."""
WAIT_SECONDS = 6.0
"""For the gateway's word on an answer: the usual request timeout, and a second."""
REQUEST_SECONDS_MAX = 60.0
"""No request takes longer: an attempt began no earlier than this before the end of those in lines before its own."""
_UNTOLD_SECONDS = 3_600.0
_MICROSECONDS = 1e6
_SERVED_COUNT = spool.VALUE_NAMES.index("served_count")

Content = Callable[[str, str], release.ReleaseContent | None]
"""Service and the first twelve digits of a digest to what the release is; None when nobody knows."""
_UNSIGNED = frozenset({release.Runtime.ASGI, release.Runtime.COMMAND, release.Runtime.ATTACHED})


class _Kind(NamedTuple):
    """How records of one release are read."""

    reader: decoding.Reader | None
    """None: it has no signature, or is not known."""
    raw: bool
    """Bodies are kept as they are."""
    inputs: Sequence[release.Column]
    outputs: Sequence[release.Column]


@dataclasses.dataclass(kw_only=True)
class _Batch:
    """Read, and not in the table yet."""

    groups: list[tuple[spool.Header, spool.Group]] = dataclasses.field(default_factory=list)
    offsets: dict[str, int]
    damaged: list[segments.Damage] = dataclasses.field(default_factory=list)
    lost_bytes: int = 0
    duplicate_count: int = 0
    record_count: int = 0
    opened_at: float = 0.0
    checked_count: int = 0
    """Groups on which the gateway has spoken."""
    read_until: float = 0.0
    """Unix seconds: all records of what was answered before were read."""


class Shipper:
    """
    Moves the spools of one home. Not for several threads; one at a time for a home (wiring holds a lock).

    Args:
        segments: The spool.
        lake: The log.
        attempts: What the gateway knows.
        content: What a release is.
        failures: Of the lake.
        profiler: Counts live profiles; None: nobody does.
        every_seconds: See EVERY_SECONDS.
        wait_seconds: See WAIT_SECONDS.
    """

    def __init__(
        self,
        *,
        segments: segments.Segments,
        lake: lakes.Lake,
        attempts: joining.Attempts,
        content: Content,
        failures: outages.Outages | None = None,
        profiler: profiling.Profiler | None = None,
        every_seconds: float = EVERY_SECONDS,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._segments = segments
        self._lake = lake
        self._attempts = attempts
        self._content = content
        self._outages = failures or outages.Outages()
        self._profiler = profiler
        self._every_seconds = every_seconds
        self._wait_seconds = wait_seconds
        self._settled: set[tuple[str, str]] = set()
        """Places whose live profiles are those of the table."""
        self._states: dict[str, lakes.TableState] = {}
        self._batches: dict[tuple[str, str], _Batch] = {}
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._told_at: dict[tuple[str, str], float] = {}
        self._is_caught_up = False
        """Nothing was behind in the spools at the last turn."""

    @property
    def busy(self) -> bool:
        """Something was read that is not in the log yet."""
        return any(batch.record_count for batch in self._batches.values())

    def turn(self, now: float, *, drain: bool = False) -> int:
        """
        Moves what is due; rows added to the log.

        Args:
            now: Unix seconds.
            drain: Everything is due that the gateway has spoken on, or was to.
        """
        count = 0
        if self._is_caught_up and not self.busy:
            self._attempts.catch_up(now)  # read to its end before, what is spooled would find the oldest forgotten
        self._is_caught_up = True
        places = {*self._segments.places(), *self._batches, *self._attempts.places}
        for service, environment in sorted(places):
            if self._outages.is_out(service, now):
                self._is_caught_up = False  # attempts are not read ahead of what waits here
                continue
            try:
                count += self._ship(service, environment, now, drain=drain)
            except (errors.UnavailableError, errors.ConflictError) as error:
                # The table as it is now tells where to go on; other services are not concerned.
                self._outages.failed(service, error, now)
                self._states.pop(service, None)
                self._is_caught_up = False
                for place in [place for place in places if place[0] == service]:
                    self._batches.pop(place, None)
                    self._settled.discard(place)
                    self._attempts.drop_ledger(place)
        self._attempts.hold(places)
        return count

    def _ship(self, service: str, environment: str, now: float, *, drain: bool) -> int:
        state = self._states.get(service)
        if state is None:
            state = self._lake.state(service)
            self._states[service] = state
        begun = state.progress.get(environment, progress.Progress())
        batch = self._batches.get((service, environment))
        if batch is None:
            if self._profiler is not None and (service, environment) not in self._settled:
                self._profiler.settle(service, environment, begun)  # of a shipper that was killed after its commit
                self._settled.add((service, environment))
            batch = self._batches[service, environment] = _Batch(offsets=dict(begun.offsets), opened_at=now)
        ledger = self._ledger(service, environment, begun)
        age = now - batch.opened_at
        if batch.record_count < RECORDS_MAX and (age < self._every_seconds or not batch.record_count):
            found = self._segments.read(
                service, environment, batch.offsets, record_count_max=RECORDS_MAX - batch.record_count
            )
            if not (batch.record_count or batch.damaged or batch.lost_bytes):
                batch.opened_at = now
            batch.groups += found.groups
            batch.offsets = found.offsets
            batch.damaged += found.damaged
            batch.lost_bytes += found.lost_bytes
            batch.duplicate_count += found.duplicate_count
            batch.record_count += found.record_count
            batch.read_until = now if found.read_until is None else found.read_until
            self._is_caught_up &= not found.record_count
            if batch.groups and batch.groups[-1][1].rows:
                last = batch.groups[-1][1]
                # In step with the batch: what is read far ahead of it would be forgotten before its turn.
                self._attempts.catch_up(last.offset + last.rows[-1][1])
        is_due = drain or batch.record_count >= RECORDS_MAX or now - batch.opened_at >= self._every_seconds
        if not (batch.record_count or batch.damaged or batch.lost_bytes):
            # Nothing comes that could tell it: servers were killed, or cannot write.
            is_waited = now - self._told_at.get((service, environment), 0.0) >= self._every_seconds
            is_due = (drain or is_waited) and ledger is not None and ledger.is_due(batch.read_until)
        if not is_due:
            return 0
        if not self._spoken_on(batch, now):
            self._attempts.catch_up(now)
            return 0
        blocks, counted = self._made(service, segments.environment_of(environment), batch, state)
        if ledger is not None:
            came_late = ledger.came(counted.keys)
            counted.unacknowledged = ledger.settle(batch.read_until) - came_late
        after = _after(begun, batch, counted, ledger)
        state = self._states[service] = appending.append(
            self._lake, service, environment, blocks, after, profiler=self._profiler
        )
        if state.progress[environment].counts != after.counts:
            self._attempts.drop_ledger((service, environment))  # another append of this number was there already
        self._told_at[service, environment] = now
        self._outages.passed(service, now)
        if counted.unacknowledged > 0:
            LOG.warning("answers_not_recorded", service=service, environment=environment, count=counted.unacknowledged)
        del self._batches[service, environment]
        for damage in batch.damaged:
            LOG.warning("spool_damaged", service=service, environment=environment, **dataclasses.asdict(damage))
        return counted.rows

    def _ledger(self, service: str, environment: str, begun: progress.Progress) -> accounting.Ledger | None:
        """What was answered there; begun anew, it is told what of it the table has. None: nobody accounts for it."""
        if not self._attempts.accounts:
            return None
        found = self._attempts.ledger((service, environment))
        if found is None:
            accounted = gateway.LogCursor(file_id=begun.attempts_file, offset=begun.attempts_offset)
            found = self._attempts.begin_ledger((service, environment), accounted, begun.attempts_ended_at)
            if begun.version:
                # Lines are in the order in which answers ended. A softlaunch before this did not tell the time.
                since = (begun.attempts_ended_at or begun.time_max - _UNTOLD_SECONDS) - REQUEST_SECONDS_MAX
                answered = self._lake.answered(service, environment, since)
                found.came(accounting.key_of(*each) for each in answered)
        return found

    def _spoken_on(self, batch: _Batch, now: float) -> bool:
        """The gateway's log tells of every answer, or has had the time to."""
        find = self._attempts.find
        while batch.checked_count < len(batch.groups):
            header, group = batch.groups[batch.checked_count]
            for values in group.rows:
                if now - group.offset - values[1] < self._wait_seconds:
                    joined = find(values[0], header.release, values[_SERVED_COUNT])
                    if joined is None or not joined.settled:
                        return False
            batch.checked_count += 1
        return True

    def _made(
        self, service: str, environment: str, batch: _Batch, state: lakes.TableState
    ) -> tuple[list[lakes.Block], _Counted]:
        counted = _Counted()
        by_release: dict[str, _Rows] = {}
        for header, group in batch.groups:
            rows = by_release.get(header.release)
            if rows is None:
                rows = by_release[header.release] = _Rows(self._kind(service, header.release))
            for values in group.rows:
                self._add(header, group, values, environment, rows, counted)
            counted.dropped[header.instance] = group.dropped
        blocks = []
        features, answer = state.features, state.answer
        for rows in by_release.values():
            if not rows.envelope:
                continue
            feature_fields = schema.placed(features, rows.kind.inputs)
            answer_fields = schema.placed(answer, rows.kind.outputs)
            features += tuple(field for field in feature_fields if field not in features)
            answer += tuple(field for field in answer_fields if field not in answer)
            blocks.append(
                lakes.Block(
                    rows=rows.envelope,
                    feature_fields=feature_fields,
                    features=rows.features,
                    answer_fields=answer_fields,
                    answers=rows.answers,
                )
            )
        return blocks, counted

    def _add(  # noqa: PLR0917 - called for every record
        self,
        header: spool.Header,
        group: spool.Group,
        values: Sequence[Any],
        environment: str,
        into: _Rows,
        counted: _Counted,
    ) -> None:
        if len(values) != spool.VALUE_COUNT:
            values = tuple(values)[: spool.VALUE_COUNT] + spool.VALUE_DEFAULTS[len(values) :]
        (
            request_id, started, flags, path, _, request, status, answer, service_us, cpu_us,
            key, row_count, _, served_count, keys, features,
        ) = values  # fmt: skip
        at = group.offset + started
        joined = self._attempts.find(request_id, header.release, served_count)
        arm = schema.SHADOW if flags & spool.FLAG_SHADOW else None
        attempt, served, latency_us = None, None, None
        if joined is not None:
            attempt, found_arm, served, latency_us, _ = joined
            arm = arm or found_arm
        else:
            counted.unmatched += 1
        kind = into.kind
        count = row_count or 1
        request_body = answer_body = None
        if kind.reader is not None:
            read = kind.reader.read(path, request, answer, status, row_count, features, keys)
            rows, answers, unread = read.features, read.answers, read.unread
        else:
            rows = answers = [None] * count
            unread = None if kind.raw else decoding.Unread.RELEASE.value
            if kind.raw:
                request_body, answer_body = request or None, answer or None
        if unread is not None:
            unread = str(unread)
            counted.unread[unread] += count
        counted.keys.append(hash((request_id, header.release, served_count)))  # accounting.key_of, without the call
        counted.records += 1
        counted.rows += count
        counted.time_max = max(counted.time_max, at)
        time_us = round(at * _MICROSECONDS)
        for row in range(count):
            into.envelope.append(
                (
                    f"{request_id}:{row}", request_id, row, count, header.release, arm, header.instance, served_count,
                    attempt, served, environment, time_us, key or None, decoding.key_texts(keys, row) if keys else None,
                    path,
                    service_us, cpu_us, latency_us, status, bool(flags & spool.FLAG_INVALID),
                    bool(flags & spool.FLAG_SHED), bool(flags & spool.FLAG_MIRRORED),
                    bool(flags & spool.FLAG_REDACTED), unread, request_body, answer_body,
                )
            )  # fmt: skip
        into.features.extend(rows)
        into.answers.extend(answers)

    def _kind(self, service: str, digits: str) -> _Kind:
        found = self._kinds.get((service, digits))
        if found is None:
            content = self._content(service, digits)
            if content is None:
                return _Kind(None, False, (), ())  # asked again: it may be a registry that is just being copied
            if content.runtime in _UNSIGNED:
                found = _Kind(None, True, (), ())
            else:
                signature = content.signature
                found = _Kind(decoding.Reader(signature), False, signature.inputs, signature.outputs)
            self._kinds[service, digits] = found
        return found


class _Rows:
    """Of one release."""

    def __init__(self, kind: _Kind) -> None:
        self.kind = kind
        self.envelope: list[lakes.Values] = []
        self.features: list[lakes.Values | None] = []
        self.answers: list[lakes.Values | None] = []


class _Counted:
    def __init__(self) -> None:
        self.rows = self.records = self.unmatched = self.unacknowledged = 0
        self.keys: list[int] = []
        """Of the records."""
        self.time_max = 0.0
        self.unread: collections.Counter[str] = collections.Counter()
        self.dropped: dict[str, int] = {}


def _after(
    begun: progress.Progress, batch: _Batch, counted: _Counted, ledger: accounting.Ledger | None
) -> progress.Progress:
    writers = {spool.writer_of(name).rpartition("-")[2] for name in batch.offsets}
    told = {**begun.dropped, **counted.dropped}
    more = {
        "rows": counted.rows,
        "records": counted.records,
        "unmatched": counted.unmatched,
        "unacknowledged": counted.unacknowledged,
        "damaged_places": len(batch.damaged),
        "damaged_bytes": sum(damage.byte_count for damage in batch.damaged),
        "lost_bytes": batch.lost_bytes,
        "duplicates": batch.duplicate_count,
        "dropped": sum(told[name] - begun.dropped.get(name, 0) for name in counted.dropped),
    }
    reasons = collections.Counter(damage.reason.value for damage in batch.damaged)
    return progress.Progress(
        version=begun.version + 1,
        offsets=batch.offsets,
        counts=_sum(begun.counts, more),
        damage=_sum(begun.damage, reasons),
        unread=_sum(begun.unread, counted.unread),
        dropped={name: count for name, count in told.items() if count and _short(name) in writers},
        time_max=max(begun.time_max, counted.time_max),
        attempts_file=begun.attempts_file if ledger is None else ledger.accounted.file_id,
        attempts_offset=begun.attempts_offset if ledger is None else ledger.accounted.offset,
        attempts_ended_at=begun.attempts_ended_at if ledger is None else ledger.ended_at,
        more=begun.more,
    )


def _short(instance: str) -> str:
    """As core.spool.segment_name has it."""
    return "".join(letter for letter in instance if letter.isalnum())[:12]


def _sum(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in {**first, **second}}
