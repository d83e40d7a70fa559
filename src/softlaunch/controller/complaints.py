"""
Complaints: what people say about predictions, grouped by the release that made them.

What no guardrail can see, customers do. A complaint names a prediction; the release that made it is looked up in what
was recorded. When the release that serves now has clearly more complaints than the one before it, going back is offered
with the exact command. It is an offer to a person, who may look at the counts every day: no rollback rests on it.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import threading
from collections.abc import Callable, Iterable, Sequence

from softlaunch import errors
from softlaunch.controller import loop as loops
from softlaunch.core import release as releases
from softlaunch.core.rollout import phases
from softlaunch.core.stats import counts
from softlaunch.ports import spool, store

FindRelease = Callable[[str], tuple[str, str, str] | None]
"""
(service, environment, release) of a prediction that was recorded; the release as a digest or Digest.short, service and
environment empty where the records do not tell them.
"""

CLEAR = 0.01
"""An offer is made when equal releases would show such a difference at most this often; a guess."""
CLEAR_COUNT_MIN = 3
"""Fewer complaints than this are one annoyed person; a guess."""
TEXT_LENGTH_MAX = 4_000
_COUNTED_MAX = 100_000
_PREDICTION = re.compile(r"[\x21-\x7e]{1,200}")
_NAME_LENGTH_MAX = 200
_AT_WORK = frozenset({phases.Phase.STEPPING, phases.Phase.WATCHING, phases.Phase.FINISHING})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Told:
    """What became of a report."""

    complaint: store.Complaint
    new: bool
    """False: the same ticket had been told before, and nothing was added."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Complaints about one release in one place."""

    release: str
    """Digest.short; empty: the release is not known."""
    count: int
    last_at: float
    role: str
    """`candidate`, `live`, `previous`, or empty for every other release."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Offer:
    """Going back, because the release that serves now has clearly more complaints than the one before it."""

    release: str
    before: str
    text: str
    """The counts, and over what; one sentence."""
    command: str
    """What to type."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """One service in one environment."""

    service: str
    environment: str
    groups: tuple[Group, ...]
    """Most complaints first."""
    offer: Offer | None


class Complaints:
    """
    Takes complaints and tells what they say.

    Args:
        store: Keeps them.
        loop: Knows what is live, and the time.
        find_release: Looks a prediction up in what was recorded; None for one that is not found.
    """

    def __init__(self, *, store: store.Store, loop: loops.ControlLoop, find_release: FindRelease) -> None:
        self._store = store
        self._loop = loop
        self._find_release = find_release
        self._lock = threading.Lock()

    def report(
        self,
        *,
        prediction: str,
        text: str,
        by: str,
        source: str,
        service: str | None = None,
        environment: str | None = None,
        ticket: str = "",
    ) -> Told:
        """
        Writes a complaint down.

        Args:
            prediction: REQUEST-ID, or REQUEST-ID:ROW of a request with many rows.
            text: What is wrong with it.
            by: Who says so.
            source: `cli`, `api` or `ticket`.
            service: Needed when the prediction is not found in the records and several services are live.
            environment: As service.
            ticket: The complaint's own id elsewhere. The same one told twice is one complaint.

        Raises:
            ConfigError: not a prediction's id, an empty or very long text, or nobody knows where it was made.
            UnavailableError: it could not be written down.
        """
        _check(prediction, text, by, ticket)
        where = self._place(prediction, service, environment)
        complaint = store.Complaint(
            id=0,
            at=self._loop.now(),
            service=where[0],
            environment=where[1],
            release=where[2],
            prediction=prediction,
            text=text,
            by=by,
            source=source,
            external_id=ticket,
        )
        with self._lock:
            known = {found.id for found in self._about(where[:2], since=complaint.at)}
            self._store.commit(store.Change(complaints=[complaint]))
            written = [found for found in self._about(where[:2], since=complaint.at) if found.id not in known]
        return Told(complaint=written[0] if written else complaint, new=bool(written))

    def latest(
        self, *, service: str | None = None, environment: str | None = None, since: float = 0.0, limit: int = 100
    ) -> Sequence[store.Complaint]:
        """Complaints since then, newest first."""
        return self._store.complaints(service=service, environment=environment, since=since, limit=limit)

    def summary(
        self, *, service: str | None = None, environment: str | None = None, since: float = 0.0
    ) -> Sequence[Place]:
        """Complaints since then by place and release; an offer compares all there ever were of the two releases."""
        found = self._store.complaints(service=service, environment=environment, since=since, limit=_COUNTED_MAX)
        places = sorted({(each.service, each.environment) for each in found})
        return tuple(
            Place(
                service=place[0],
                environment=place[1],
                groups=self._groups(place, [each for each in found if (each.service, each.environment) == place]),
                offer=self._offer(place),
            )
            for place in places
        )

    def _place(self, prediction: str, service: str | None, environment: str | None) -> tuple[str, str, str]:
        found = self._find_release(prediction)
        recorded, release = ((found[0], found[1]), releases.short(found[2])) if found else (("", ""), "")
        with self._loop.lock:
            places = [recorded] if all(recorded) else list(self._loop.ledger.lives)
        fitting = [place for place in places if service in (None, place[0]) and environment in (None, place[1])]
        if release and len(fitting) > 1:
            fitting = [place for place in fitting if self._launched_there(place, release)] or fitting
        if len(fitting) == 1:
            return (*fitting[0], release)
        if all(recorded):
            raise errors.ConfigError(
                f"Prediction {prediction!r} was made by {recorded[0]!r} in {recorded[1]!r}.",
                remedy="Leave --service and --env out, or correct the prediction's id.",
                code=errors.Code.NO_PREDICTION,
            )
        raise errors.ConfigError(
            f"It is not known where prediction {prediction!r} was made: {len(fitting)} places fit"
            + (f" release {release}." if release else ", and the records do not have it."),
            remedy="Say where with --service and --env; `softlaunch status` lists what is live.",
            code=errors.Code.NO_PREDICTION,
        )

    def _launched_there(self, place: tuple[str, str], release: str) -> bool:
        records = self._store.rollouts(service=place[0], environment=place[1], limit=1_000)
        return any(record.candidate.short == release for record in records)

    def _groups(self, place: tuple[str, str], found: Sequence[store.Complaint]) -> tuple[Group, ...]:
        roles = self._roles(place)
        releases = {each.release for each in found}
        groups = [
            Group(
                release=release,
                count=sum(1 for each in found if each.release == release),
                last_at=max(each.at for each in found if each.release == release),
                role=roles.get(release, ""),
            )
            for release in releases
        ]
        return tuple(sorted(groups, key=lambda group: (-group.count, group.release)))

    def _roles(self, place: tuple[str, str]) -> dict[str, str]:
        with self._loop.lock:
            live = self._loop.ledger.lives.get(place)
            running = self._loop.ledger.rollouts.get(place)
        roles = {}
        if live is not None:
            named = ((live.previous, "previous"), (live.stable, "live"))
            roles = {digest.short: role for digest, role in named if digest is not None}
        if running is not None:
            roles[running.candidate.short] = "candidate"
        return roles

    def _offer(self, place: tuple[str, str]) -> Offer | None:
        compared = self._launching(place) or self._launched(place)
        if compared is None:
            return None
        now, before = compared
        if now.count < CLEAR_COUNT_MIN or now.exposure <= 0 or before.exposure <= 0:
            return None
        share = now.exposure / (now.exposure + before.exposure)
        if counts.odds_of_at_least(now.count, total=now.count + before.count, share=share) > CLEAR:
            return None
        return Offer(
            release=now.release,
            before=before.release,
            text=f"{now.release}: {now.count} complaints in {now.over}; {before.release}, the one before: "
            f"{before.count} in {before.over}.",
            command=f"softlaunch rollback --to {before.release} --service {place[0]} --env {place[1]} "
            f"--reason {shlex.quote(f'{now.count} complaints')}",
        )

    def _launching(self, place: tuple[str, str]) -> tuple[_Side, _Side] | None:
        """A rollout's candidate and its stable release, over the requests that each of them answered in it."""
        with self._loop.lock:
            record = self._loop.ledger.rollouts.get(place)
            if record is None or record.stable is None or record.state.phase not in _AT_WORK:
                return None
            analysis = self._loop.analyses.get(record.id)
            measured = dict(record.measured if analysis is None else analysis.measured())
        found = self._about(place, since=record.created_at)
        requests = [measured.get(f"{arm}_attempts", 0) for arm in ("candidate", "stable")]
        candidate, stable = record.candidate.short, record.stable.short
        return (
            _Side(candidate, _count(found, candidate), requests[0], f"{requests[0]:,} requests of this rollout"),
            _Side(stable, _count(found, stable), requests[1], f"{requests[1]:,}"),
        )

    def _launched(self, place: tuple[str, str]) -> tuple[_Side, _Side] | None:
        """What is live and what was before it, over the time that each of them was."""
        with self._loop.lock:
            live = self._loop.ledger.lives.get(place)
            running = self._loop.ledger.rollouts.get(place)
            now = self._loop.now()
        if live is None or live.stable is None or live.previous is None or running is not None:
            return None
        promoted = [
            record
            for record in self._store.rollouts(service=place[0], environment=place[1], limit=1_000)
            if record.state.phase is phases.Phase.PROMOTED
        ]
        current = next((record for record in promoted if record.candidate == live.stable), None)
        older = [record for record in promoted if current is not None and record.id < current.id]
        before = next((record for record in older if record.candidate == live.previous), None)
        if current is None or before is None:
            return None
        found = self._about(place, since=before.created_at)
        spans = (now - current.created_at, current.created_at - before.created_at)
        stable, previous = live.stable.short, live.previous.short
        late = [each for each in found if each.at >= current.created_at]
        return (
            _Side(stable, _count(late, stable), spans[0], _words(spans[0])),
            _Side(previous, _count(found, previous), spans[1], _words(spans[1])),
        )

    def _about(self, place: tuple[str, str], *, since: float) -> Sequence[store.Complaint]:
        return self._store.complaints(service=place[0], environment=place[1], since=since, limit=_COUNTED_MAX)


@dataclasses.dataclass(frozen=True)
class _Side:
    release: str
    count: int
    exposure: float
    over: str
    """The exposure in words."""


def recorded(records: spool.Spool) -> FindRelease:
    """Looks predictions up in the spool."""

    def find(prediction: str) -> tuple[str, str, str] | None:
        request, _, row = prediction.rpartition(":")
        found = records.find(prediction) or (records.find(request) if request and row.isdigit() else ())
        return ("", "", found[0].release) if found else None

    return find


def nowhere(_prediction: str) -> None:
    """Looks a prediction up where nothing is recorded."""
    return


def _check(prediction: str, text: str, by: str, ticket: str) -> None:
    wrong = ""
    if not _PREDICTION.fullmatch(prediction):
        wrong = f"{prediction[:60]!r} is no id of a prediction"
    elif not text.strip() or len(text) > TEXT_LENGTH_MAX:
        wrong = f"the text has {len(text.strip())} characters"
    elif not by.strip() or max(len(by), len(ticket)) > _NAME_LENGTH_MAX:
        wrong = "who says so, or the ticket's id, is empty or too long"
    if wrong:
        raise errors.ConfigError(
            f"The complaint cannot be taken: {wrong}.",
            remedy=f"Give the request's id, as its answer's header x-request-id tells it, :ROW if it had many rows, "
            f"and up to {TEXT_LENGTH_MAX} characters of text.",
            code=errors.Code.BAD_COMPLAINT,
        )


def _count(found: Iterable[store.Complaint], release: str) -> int:
    return sum(1 for each in found if each.release == release)


def _words(seconds: float) -> str:
    hours = seconds / 3_600
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours" if hours >= 1 else f"{seconds:.0f} s"
