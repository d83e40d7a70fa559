"""
What the gateway knows of an answer: which attempt it was, on which arm, and whether the client got it.

The gateway's log and the model server's record of one answer are joined by the request's id, the release, and how many
requests the process had answered before: the server tells that with its answer, and no two answers of a process share
it. The client got the last attempt that was answered at all, unless a fallback answered in its place.

Attempts are remembered in two generations, so that forgetting costs nothing; what is not remembered any more is null
in the log, and counted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from softlaunch.controller.prediction_log import accounting
from softlaunch.core import attempts
from softlaunch.core.prediction_log import schema
from softlaunch.ports import gateway

GENERATION_COUNT = 150_000
"""Attempts in a generation, some 50 MB: a batch of the shipper, and at 10,000 a second what is read ahead of it."""
_LINES = 20_000
_AHEAD_SECONDS = 6.0
"""Lines are in the order in which attempts ended: the usual request timeout, and a second."""
_FIRST_STATUS_TRIED_AGAIN = 500


class Known(NamedTuple):
    """One attempt."""

    release: str
    served_count: int | None
    number: int
    arm: str
    status: int
    latency_us: int | None
    final: bool
    """The gateway tries nothing after such an answer."""


class Joined(NamedTuple):
    attempt: int
    arm: str
    served: bool
    latency_us: int | None
    settled: bool
    """Nothing the log may say later would change `served`."""


class Attempts:
    """
    Args:
        log: The gateway's.
        accounts: Whether all records of these answers come here, so that those which do not are missing.
    """

    def __init__(self, log: gateway.AttemptTail, *, accounts: bool = True) -> None:
        self.accounts = accounts
        self._log = log
        self._cursor = log.held() or gateway.LogCursor()
        self._began = [self._cursor, self._cursor]
        self._ledgers = accounting.Ledgers(log, self._cursor)
        self._known: list[dict[str, tuple[Known, ...]]] = [{}, {}]
        self._count = 0
        self._read_until = 0.0
        self._fallbacks: list[set[str]] = [set(), set()]
        self._candidates: dict[tuple[str, str, int], str] = {}
        self.gaps = 0
        """Places where lines are known to be missing."""

    def catch_up(self, until: float) -> None:
        """Reads up to what ended when everything begun by Unix time `until` had; at most to the end."""
        if self._read_until > until + _AHEAD_SECONDS:
            return
        while True:
            batch = self._log.read(self._cursor, line_count_max=_LINES)
            self.gaps += batch.gap is not None
            for attempt in batch.attempts:
                self._add(attempt, self._arm(attempt))
            for attempt in batch.copies:
                self._add(attempt, schema.SHADOW)
            self._fallbacks[0].update(batch.fallback_ids)
            if self.accounts:
                self._ledgers.feed(batch, self._cursor)
            at_end = batch.cursor == self._cursor
            self._cursor = batch.cursor
            if self._count >= GENERATION_COUNT:
                self._turn()
            if batch.attempts:
                self._read_until = batch.attempts[-1].started_at
            if at_end or self._read_until > until + _AHEAD_SECONDS:
                if self.accounts:
                    self._ledgers.follow(self._cursor, at_end=at_end)
                return

    @property
    def places(self) -> Collection[accounting.Place]:
        """Those with an answer that was to be recorded."""
        return self._ledgers.seen

    def ledger(self, place: accounting.Place) -> accounting.Ledger | None:
        """What was answered there and is not accounted for, if it was begun."""
        return self._ledgers.find(place)

    def begin_ledger(self, place: accounting.Place, accounted: gateway.LogCursor, ended_at: float) -> accounting.Ledger:
        """One with all that was read so far behind `accounted`; see accounting.Ledgers.begin."""
        return self._ledgers.begin(place, accounted, ended_at, self._cursor)

    def drop_ledger(self, place: accounting.Place) -> None:
        """What is in the table is not known any more."""
        self._ledgers.drop(place)

    def hold(self, places: Collection[accounting.Place] = ()) -> None:
        """
        After a restart it goes on with what is remembered now.

        Args:
            places: Nothing is let go that a ledger of theirs will need.
        """
        self._log.hold(self._ledgers.oldest(places if self.accounts else (), self._began[1]))

    def find(self, request_id: str, release: str, served_count: int) -> Joined | None:
        """What is known of the answer."""
        found = self._known[0].get(request_id)
        older = self._known[1].get(request_id)
        if older:
            found = older if found is None else older + found
        if found is None:
            return None
        mine = next((each for each in found if each.served_count == served_count and each.release == release), None)
        if mine is None:
            return None
        if len(found) == 1:
            last = mine
        else:
            answered = [each for each in found if each.status and each.arm != schema.SHADOW]
            last = max(answered, key=lambda each: each.number, default=mine)
        replaced = request_id in self._fallbacks[0] or request_id in self._fallbacks[1]
        served = last is mine and mine.status > 0 and mine.arm != schema.SHADOW and not replaced
        return Joined(mine.number, mine.arm, served, mine.latency_us, replaced or last is not mine or mine.final)

    def _add(self, attempt: attempts.Attempt, arm: str) -> None:
        known = Known(
            attempt.release,
            attempt.served_count,
            attempt.number,
            arm,
            attempt.status,
            attempt.latency_us,
            arm == schema.SHADOW or (attempt.status < _FIRST_STATUS_TRIED_AGAIN and not attempt.invalid),
        )
        newest = self._known[0]
        newest[attempt.request_id] = (*newest.get(attempt.request_id, ()), known)
        self._count += 1

    def _arm(self, attempt: attempts.Attempt) -> str:
        """Under [candidate, stable] the first attempt is the candidate's; a later one may be a hedge, or stable's."""
        if not attempt.composite:
            return schema.STABLE
        place = (attempt.service, attempt.environment, attempt.epoch)
        if attempt.number == 1 and attempt.release:
            self._candidates[place] = attempt.release
        candidate = self._candidates.get(place)
        is_candidate = attempt.release == candidate if candidate is not None else attempt.number == 1
        return schema.CANDIDATE if is_candidate else schema.STABLE

    def _turn(self) -> None:
        self._known = [{}, self._known[0]]
        self._fallbacks = [set(), self._fallbacks[0]]
        self._began = [self._cursor, self._began[0]]
        self._count = 0
        if len(self._candidates) > 10_000:
            self._candidates.clear()
