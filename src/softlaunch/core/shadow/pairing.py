"""
Pairs: what stable answered, and what the candidate answered to a copy of the same request.

Records of the spool go in, in any order; a pair comes out when both sides are there. A copy without an answer in time
counts as the candidate's error, as a user would have counted it. Two things keep that honest: records the candidate's
process says it dropped (Record.dropped) explain as many missing answers, which are then `lost` and not judged; and time
is the caller's, who lets it pass only while nothing is left to be read.

Every pair has two Attempts for the judge. Their ids differ, because to the judge they are two requests.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from softlaunch.core import attempts, lookup_recorded, spool
from softlaunch.core.shadow import agreement

WAIT_MORE_SECONDS = 2.0
"""On top of the request timeout: the flush of the spool, the reading of it, and clocks."""
_PENDING_COUNT_MAX = 20_000
"""Requests waiting for their other half; more are lost, the oldest first."""
_DONE_COUNT_MAX = 200_000
"""Paired requests remembered, to know a repetition; a guess, many times what comes in the time a request may take."""
_SAVED_COUNT_MAX = 500
"""Of them, how many are saved with the state."""
_ANSWERED = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    request_id: str
    stable: attempts.Attempt
    candidate: attempts.Attempt
    agrees: bool | None
    """None when they cannot be compared: one of them is no successful answer."""
    difference: agreement.Difference | None
    stable_answer: bytes
    candidate_answer: bytes
    """Empty when none came."""

    @property
    def joined(self) -> bool:
        """Both sides answered, if only with an error."""
        return self.candidate.status != 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What pairs are of."""

    service: str
    environment: str
    stable: str
    """First twelve hex digits, as in records."""
    candidate: str
    epoch: int
    """Under which the judge counts them: the shadow population's."""


class Pairing:
    """
    See the module.

    Args:
        place: What is paired; records of other releases are counted and left alone.
        rule: When answers agree.
        request_timeout_seconds: No answer comes later than this after its request.
        mirrored_only: Primaries without a copy are left alone (they are the most); False for a replay.
    """

    def __init__(
        self,
        place: Place,
        *,
        rule: agreement.Rule,
        request_timeout_seconds: float,
        mirrored_only: bool = True,
    ) -> None:
        self._place = place
        self._rule = rule
        self._wait_seconds = request_timeout_seconds + WAIT_MORE_SECONDS
        self._mirrored_only = mirrored_only
        self._primaries: dict[str, spool.Record] = {}
        self._shadows: dict[str, spool.Record] = {}
        self._done: collections.OrderedDict[str, float] = collections.OrderedDict()
        self._dropped: dict[str, int] = {}
        self._unexplained = 0
        self.lost_count = 0
        """Pairs that a gap in the candidate's records explains, or that came in faster than they could be joined."""
        self.orphan_count = 0
        """Copies whose primary was never found: stable's records have a gap."""
        self.repeat_count = 0
        """Further records of a request that was paired already: retries and hedges on stable."""
        self.foreign_count = 0
        """Records of other releases."""

    @property
    def pending_count(self) -> int:
        """Requests waiting for their other half."""
        return len(self._primaries) + len(self._shadows)

    def begin(self, epoch: int) -> None:
        """Pairs completed from now on count under this epoch: a routing decision was taken."""
        self._place = dataclasses.replace(self._place, epoch=epoch)

    def add(self, record: spool.Record) -> Pair | None:
        """The pair this record completes."""
        request_id = record.request_id
        if record.arm == spool.SHADOW:
            if record.release != self._place.candidate:
                self.foreign_count += 1
                return None
            self._note_drops(record)
            mine, others = self._shadows, self._primaries
        else:
            if self._mirrored_only and not record.mirrored:
                return None
            if record.release != self._place.stable:
                self.foreign_count += 1
                return None
            mine, others = self._primaries, self._shadows
        if request_id in self._done or request_id in mine:
            self.repeat_count += 1
            return None
        other = others.pop(request_id, None)
        if other is None:
            mine[request_id] = record
            self._bound(mine)
            return None
        primary, shadow = (other, record) if record.arm == spool.SHADOW else (record, other)
        return self._paired(primary, shadow)

    def answerless(self, request_id: str) -> Pair | None:
        """The pair of a primary whose copy surely gets no answer any more; None when it does not wait."""
        primary = self._primaries.pop(request_id, None)
        return None if primary is None else self._paired(primary, None)

    def lose(self, request_id: str) -> None:
        """No copy of this request was made after all; its primary may be known already or come yet."""
        primary = self._primaries.pop(request_id, None)
        self._done[request_id] = primary.at if primary is not None else math.inf
        self.lost_count += 1

    def overdue(self, now: float) -> list[Pair]:
        """
        Pairs without an answer of the candidate, of requests that have waited long enough.

        Args:
            now: Unix seconds up to which all records have been read.
        """
        due = now - self._wait_seconds
        pairs = []
        for request_id in [name for name, record in self._primaries.items() if record.at <= due]:
            primary = self._primaries.pop(request_id)
            if self._unexplained > 0:
                self._unexplained -= 1
                self.lost_count += 1
                self._done[request_id] = primary.at
            else:
                pairs.append(self._paired(primary, None))
        for request_id in [name for name, record in self._shadows.items() if record.at <= due]:
            self._done[request_id] = self._shadows.pop(request_id).at
            self.orphan_count += 1
        while self._done:
            request_id, at = next(iter(self._done.items()))
            if math.isinf(at):  # its primary has not come yet: forgotten as long after this look
                self._done[request_id] = now
            elif at > due - self._wait_seconds:
                break
            else:
                del self._done[request_id]
        return pairs

    def state(self) -> dict[str, Any]:
        """A JSON-able object, to be saved together with the place up to which the spool was read."""
        waiting = [*self._primaries.values(), *self._shadows.values()]
        return {
            "waiting": [_record_to_json(record) for record in waiting[-_SAVED_COUNT_MAX:]],
            "dropped": self._dropped,
            "unexplained": self._unexplained,
            "counts": [
                self.lost_count + max(0, len(waiting) - _SAVED_COUNT_MAX),
                self.orphan_count,
                self.repeat_count,
                self.foreign_count,
            ],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where the one that wrote `state` stood; what was paired in the last seconds is not known again."""
        self._primaries.clear()
        self._shadows.clear()
        for document in state["waiting"]:
            record = _record_from_json(document)
            side = self._shadows if record.arm == spool.SHADOW else self._primaries
            side[record.request_id] = record
        self._dropped = {str(name): int(count) for name, count in state["dropped"].items()}
        self._unexplained = int(state["unexplained"])
        self.lost_count, self.orphan_count, self.repeat_count, self.foreign_count = map(int, state["counts"])

    def _note_drops(self, record: spool.Record) -> None:
        known = self._dropped.get(record.instance)
        if known is not None and record.dropped > known:
            self._unexplained += record.dropped - known
        if known is None or record.dropped > known:
            self._dropped[record.instance] = record.dropped

    def _bound(self, side: dict[str, spool.Record]) -> None:
        while len(side) > _PENDING_COUNT_MAX:
            side.pop(next(iter(side)))
            self.lost_count += 1

    def _paired(self, primary: spool.Record, shadow: spool.Record | None) -> Pair:
        self._done[primary.request_id] = primary.at
        if len(self._done) > _DONE_COUNT_MAX:
            self._done.popitem(last=False)
        agrees, found = None, None
        if shadow is not None and primary.status == shadow.status == _ANSWERED and not primary.cut and not shadow.cut:
            found = agreement.difference(primary.answer, shadow.answer, self._rule)
            agrees = found is None
        return Pair(
            request_id=primary.request_id,
            stable=self._attempt(primary, f"{primary.request_id}/stable"),
            candidate=self._candidate_attempt(primary, shadow),
            agrees=agrees,
            difference=found,
            stable_answer=primary.answer,
            candidate_answer=b"" if shadow is None else shadow.answer,
        )

    def _candidate_attempt(self, primary: spool.Record, shadow: spool.Record | None) -> attempts.Attempt:
        request_id = f"{primary.request_id}/candidate"
        if shadow is not None:
            return self._attempt(shadow, request_id)._replace(started_at=primary.at, key=primary.key)
        return self._attempt(primary, request_id)._replace(
            release=self._place.candidate,
            status=0,
            flags="UT",
            latency_us=None,
            invalid=False,
            shed=False,
            output="",
            cpu_us=None,
            memory_kib=None,
            served_count=None,
            replica="",
            features_defaulted=None,
        )

    def _attempt(self, record: spool.Record, request_id: str) -> attempts.Attempt:
        return attempts.Attempt(
            started_at=record.at,
            request_id=request_id,
            service=self._place.service,
            environment=self._place.environment,
            epoch=self._place.epoch,
            release=record.release,
            composite=False,
            number=1,
            status=record.status,
            flags="-",
            latency_us=record.service_us,
            key=record.key,
            invalid=record.invalid,
            shed=record.shed,
            output=record.output,
            cpu_us=record.cpu_us,
            memory_kib=record.memory_kib or None,
            served_count=record.served_count,
            input_bytes=len(record.request),
            replica=record.instance,
            features_defaulted=lookup_recorded.defaulted(record.features),
        )


def _record_to_json(record: spool.Record) -> list[Any]:
    kept = record._replace(request=b"")  # pairs need no requests
    return [value.decode("latin-1") if isinstance(value, bytes) else value for value in kept]


def _record_from_json(document: list[Any]) -> spool.Record:
    record = spool.Record(*document)
    return record._replace(request=b"", answer=document[spool.Record._fields.index("answer")].encode("latin-1"))
