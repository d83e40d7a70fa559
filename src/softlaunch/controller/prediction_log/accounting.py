"""
Answers that nobody can ever ask for: the gateway saw them, and no record of them came.

A record is acknowledged when it is written to the spool. A model server that is killed takes with it what it had not
written yet, and cannot say how much that was. But it had said with each of these answers that it would record it, and
the gateway's log has that word:

    attempt log ──► answers whose record is to come ──┐
                                                      ├─ matched, or counted once the spool was read well past them
    spool ────────► records that came ────────────────┘

Exactly once: the commit that tells the count also tells the line of the attempt log up to which it reaches
(core.prediction_log.progress). After a crash that log is read from there again, and the table itself tells which of the
answers are in it already.

What a server dropped because its buffer or disk was full, and what was damaged or deleted for room before it was moved,
is missing in the same way and counted with it.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterable, Sequence

from softlaunch.core import attempts
from softlaunch.ports import gateway

SETTLE_SECONDS = 10.0
"""
Between an answer and its record; usually 50 ms. A guess, twice the usual request timeout: a machine that is short of
time writes late, and a record that comes even later is subtracted again.
"""
KEYS_MAX = 500_000
"""Answers without a record held at a time, some 60 MB: what several processes answered during one's segment."""
_EARLY_MAX = 500_000
_LINES = 20_000
_MICROSECONDS = 1e6

Place = tuple[str, str]
"""Service and environment."""


def key_of(request_id: str, release: str, served_count: int | None) -> int:
    """Stands for one answer: 64 bits, of which a million share none but once in a hundred million times."""
    return hash((request_id, release, served_count))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Chunk:
    """Answers of some lines of the log."""

    before: gateway.LogCursor
    ended_at: float
    keys: Sequence[int]


class Ledger:
    """
    Of one place: what was answered against what was recorded. Not for several threads.

    Args:
        cursor: Lines before it were accounted for.
        ended_at: When the last answer of these ended.
    """

    def __init__(self, cursor: gateway.LogCursor, ended_at: float = 0.0) -> None:
        self.cursor = cursor
        """Lines before it were taken."""
        self.ended_at = ended_at
        """Unix seconds at which the last of the answers ended that were accounted for: others ended later."""
        self._chunks: collections.deque[_Chunk] = collections.deque()
        self._waiting: dict[int, int] = {}
        self._early: list[dict[int, int]] = [{}, {}]
        self._counted: dict[int, int] = {}

    @property
    def accounted(self) -> gateway.LogCursor:
        """Lines before it will not be needed again."""
        return self._chunks[0].before if self._chunks else self.cursor

    @property
    def is_full(self) -> bool:
        return len(self._waiting) > KEYS_MAX

    def take(self, answered: Sequence[attempts.Attempt], after: gateway.LogCursor) -> None:
        """
        The answers of the next lines.

        Args:
            answered: In the order in which they ended.
            after: Behind these lines; where it stands if more of them are to come.
        """
        keys = []
        waiting = self._waiting
        is_early = bool(self._early[0] or self._early[1])
        for each in answered:
            key = hash((each.request_id, each.release, each.served_count))  # key_of, without the call
            if is_early and (_taken(self._early[0], key) or _taken(self._early[1], key)):
                continue
            if key in waiting:
                waiting[key] += 1
            else:
                waiting[key] = 1
            keys.append(key)
        if keys:
            ended_at = each.started_at + (each.latency_us or 0) / _MICROSECONDS
            self.ended_at = self.ended_at or answered[0].started_at
            self._chunks.append(_Chunk(before=self.cursor, ended_at=ended_at, keys=keys))
        self.cursor = after

    def came(self, keys: Iterable[int]) -> int:
        """Records; how many of them had been counted as missing."""
        late = 0
        waiting, counted = self._waiting, self._counted
        for key in keys:
            count = waiting.pop(key, 0)
            if count > 1:
                waiting[key] = count - 1
            if count:
                continue
            if counted and _taken(counted, key):
                late += 1
                continue
            early = self._early[0]
            early[key] = early.get(key, 0) + 1
            if len(early) > _EARLY_MAX:
                self._early = [{}, early]
        return late

    def is_due(self, read_until: float) -> bool:
        """
        Whether something is missing that `settle` would count.

        Args:
            read_until: Unix seconds; records of everything answered before have come, were there any.
        """
        while self._chunks:
            chunk = self._chunks[0]
            if any(key in self._waiting for key in chunk.keys):
                return chunk.ended_at + SETTLE_SECONDS <= read_until
            self._pop()
        return False

    def _pop(self) -> Sequence[int]:
        chunk = self._chunks.popleft()
        self.ended_at = max(self.ended_at, chunk.ended_at)
        return chunk.keys

    def settle(self, read_until: float) -> int:
        """Answers whose records should have come and did not, each counted once."""
        missing = 0
        while self.is_due(read_until):
            for key in self._pop():
                if _taken(self._waiting, key):
                    missing += 1
                    self._counted[key] = self._counted.get(key, 0) + 1
        if len(self._counted) > _EARLY_MAX:
            self._counted.clear()
        return missing


class Ledgers:
    """
    Of all places, fed with what somebody else reads of the log; what a ledger lacks is read for it alone.

    Args:
        log: The gateway's.
        start: Where reading of it began: nobody needs what is before.
    """

    def __init__(self, log: gateway.AttemptTail, start: gateway.LogCursor) -> None:
        self._log = log
        self._start = start
        self._ledgers: dict[Place, Ledger] = {}
        self._needed: dict[Place, gateway.LogCursor] = {}
        """Of places whose ledger was dropped: what it had accounted for before it tried what failed."""
        self.seen: set[Place] = set()
        """Places with an answer that its server has said to record."""

    def find(self, place: Place) -> Ledger | None:
        return self._ledgers.get(place)

    def begin(self, place: Place, accounted: gateway.LogCursor, ended_at: float, until: gateway.LogCursor) -> Ledger:
        """
        A ledger that begins where the place's last commit says.

        Args:
            place: Whose.
            accounted: The commit's.
            ended_at: Ledger.ended_at then.
            until: What comes after will be fed.
        """
        ledger = Ledger(max(accounted, self._needed.get(place, self._start)), ended_at)
        self._ledgers[place] = ledger
        self._follow(place, ledger, until)
        return ledger

    def drop(self, place: Place) -> None:
        """It is not known what of it is in the table: it is to begin again."""
        self._ledgers.pop(place, None)

    def feed(self, batch: gateway.LogBatch, before: gateway.LogCursor) -> None:
        """What was read between two cursors."""
        answered, copies = _by_place(batch.attempts), _by_place(batch.copies)
        self.seen.update(answered, copies)
        for place, ledger in self._ledgers.items():
            if ledger.cursor == before and not ledger.is_full:
                ledger.take(answered.get(place, ()), before)
                ledger.take(copies.get(place, ()), batch.cursor)

    def follow(self, until: gateway.LogCursor, *, at_end: bool) -> None:
        """
        Reads what was not fed, up to `until`.

        Args:
            until: Where the one who feeds stands.
            at_end: There is nothing behind: a ledger that is further was kept of another log.
        """
        for place, ledger in self._ledgers.items():
            if at_end and ledger.cursor > until:
                ledger.cursor = gateway.LogCursor()
            self._follow(place, ledger, until)

    def oldest(self, places: Collection[Place], until: gateway.LogCursor) -> gateway.LogCursor:
        """
        Lines before it are not needed any more, once what ledgers have settled is in the table.

        Args:
            places: That will have a ledger.
            until: What is needed for other things.
        """
        self._needed |= {place: ledger.accounted for place, ledger in self._ledgers.items()}
        return min([until, *(self._needed.get(place, self._start) for place in {*places, *self.seen, *self._needed})])

    def _follow(self, place: Place, ledger: Ledger, until: gateway.LogCursor) -> None:
        while ledger.cursor < until and not ledger.is_full:
            batch = self._log.read(ledger.cursor, line_count_max=_LINES, until=until)
            ledger.take(_by_place(batch.attempts).get(place, ()), ledger.cursor)
            # Lines that are gone are passed over.
            after = batch.cursor if batch.cursor > ledger.cursor else until
            ledger.take(_by_place(batch.copies).get(place, ()), after)


def _by_place(found: Iterable[attempts.Attempt]) -> dict[Place, list[attempts.Attempt]]:
    """Those whose server has said to record them."""
    by_place: dict[Place, list[attempts.Attempt]] = {}
    for each in found:
        if each.recorded:
            by_place.setdefault((each.service, each.environment), []).append(each)
    return by_place


def _taken(counts: dict[int, int], key: int) -> bool:
    """One of them, if there was one."""
    count = counts.get(key)
    if count is None:
        return False
    if count == 1:
        del counts[key]
    else:
        counts[key] = count - 1
    return True
