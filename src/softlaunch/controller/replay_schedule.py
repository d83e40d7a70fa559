"""
Continuous replay: every so often, what production asked is asked of the newest build, before anybody launches it.

    first seen    a place whose environment says `replay:` is due one `every` later
    due           when nothing is launched there, and no other replay runs; one at a time, whoever waited longest first
    candidate     the release built last that was not replayed yet and is not pinned; never one older than what is live
    no candidate  nothing to do until the next `every`
    started       written down first, so that a restart begins a replay that was interrupted anew, and repeats none
    ended         told as a history event `replayed`; a verdict ends it, no verdict is tried again after an `every`

A replay that fails pins nothing: it is a word of advice, from recordings, about a release that no user has met.

Schedule decides, in any time it is told; Nightly reads, starts and tells.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog

from softlaunch import errors
from softlaunch.controller import loop as loops
from softlaunch.core import release, spec, units
from softlaunch.core.rollout import messages
from softlaunch.ports import registry, replays, store

LOG = structlog.get_logger()

KIND = "replayed"
BOOKMARK = "replays"
BUSY_SECONDS = 300.0
"""A person's own replay runs on this home: tried again after this long."""
_REMEMBERED_MAX = 200
"""Releases per place known to have been replayed; what is older than so many builds is older than what is live."""

Place = tuple[str, str]
"""(service, environment)."""


@dataclasses.dataclass(kw_only=True)
class _Kept:
    due_from: float
    """The last replay, or when the place was first seen; it is due `every` later."""
    not_before: float = 0.0
    running: str = ""
    """Digest of a replay that was started and has not ended."""
    replayed: list[str] = dataclasses.field(default_factory=list)


class Schedule:
    """
    When which place is due. Times are Unix seconds.

    Args:
        state: What `state` gave, to go on from.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        places = (state or {"places": []})["places"]
        self._places = {(str(found["place"][0]), str(found["place"][1])): _Kept(**found["kept"]) for found in places}

    def see(self, wanted: Collection[Place], now: float) -> bool:
        """Notes places that are new, forgets those that want none any more; says whether anything changed."""
        fresh = [place for place in wanted if place not in self._places]
        gone = [place for place in self._places if place not in wanted]
        for place in fresh:
            self._places[place] = _Kept(due_from=now)
        for place in gone:
            del self._places[place]
        return bool(fresh or gone)

    def due(self, wanted: Mapping[Place, spec.ReplaySpec], now: float) -> list[Place]:
        """Places to be replayed now: interrupted ones first, then who waits longest."""
        found = [
            (not kept.running, kept.due_from + wanted[place].every_seconds, place)
            for place, kept in self._places.items()
            if place in wanted
            and kept.not_before <= now
            and (kept.running or kept.due_from + wanted[place].every_seconds <= now)
        ]
        return [place for _, _, place in sorted(found)]

    def choose(
        self, place: Place, newest: Sequence[release.Digest], *, live: Collection[str], pinned: Collection[str]
    ) -> release.Digest | None:
        """
        The release to replay; None when there is none worth it.

        Args:
            place: Where.
            newest: Releases of the service, built last first.
            live: Digests of what is live or was before: it and what was built before it are history.
            pinned: Digests that must not be launched there.
        """
        kept = self._places[place]
        for digest in newest:
            if digest.value in live:
                return None
            if digest.value not in pinned and digest.value not in kept.replayed:
                return digest
        return None

    def skipped(self, place: Place, now: float) -> None:
        """There is nothing to replay: the next `every` counts from now."""
        kept = self._places[place]
        kept.due_from, kept.running = now, ""

    def started(self, place: Place, digest: release.Digest, now: float) -> None:
        kept = self._places[place]
        kept.due_from, kept.running = now, digest.value

    def ended(self, place: Place, *, decided: bool) -> None:
        """
        The replay that was started has ended.

        Args:
            place: Where.
            decided: It came to a verdict, and need not be done again.
        """
        kept = self._places.get(place)
        if kept is not None:
            if decided and kept.running:
                kept.replayed = [*kept.replayed, kept.running][-_REMEMBERED_MAX:]
            kept.running = ""

    def busy(self, place: Place, now: float) -> None:
        """Another replay was in the way: soon again."""
        kept = self._places.get(place)
        if kept is not None:
            kept.not_before = now + BUSY_SECONDS

    def state(self) -> dict[str, Any]:
        """A JSON document to go on from."""
        return {
            "places": [
                {"place": list(place), "kept": dataclasses.asdict(kept)} for place, kept in sorted(self._places.items())
            ]
        }


class Nightly:
    """
    Replays what is due, one at a time.

    Args:
        loop: To see what is live, and to tell what came of it.
        store: Knows pins, and keeps the schedule.
        registry: Knows what was built.
        process: Where replays run.
    """

    def __init__(
        self,
        *,
        loop: loops.ControlLoop,
        store: store.Store,
        registry: registry.Registry,
        process: replays.Replays,
    ) -> None:
        self._loop = loop
        self._store = store
        self._registry = registry
        self._process = process
        kept = store.bookmark(BOOKMARK)
        self._schedule = Schedule(json.loads(kept) if kept is not None else None)
        self._running: tuple[Place, replays.Job] | None = None

    def turn(self) -> None:
        """Takes a result that has come, starts what is due."""
        now = self._loop.now()
        if self._running is not None:
            result = self._process.result()
            if result is None:
                return
            (place, job), self._running = self._running, None
            self._settle(place, job, result, now)
        with self._loop.lock:
            lives = {
                place: live
                for place, live in self._loop.ledger.lives.items()
                if live.spec.replay is not None and live.stable is not None
            }
            launching = set(self._loop.ledger.rollouts)
        wanted = {place: live.spec.replay for place, live in lives.items() if live.spec.replay is not None}
        if self._schedule.see(set(wanted), now):
            self._save()
        for place in self._schedule.due(wanted, now):
            if place not in launching and self._start(lives[place], wanted[place], now):
                return

    def _start(self, live: store.LiveRecord, wanted: spec.ReplaySpec, now: float) -> bool:
        place = (live.service, live.environment)
        pins = self._store.pins(service=live.service, environment=live.environment)
        candidate = self._schedule.choose(
            place,
            self._registry.newest(live.service),
            live={found.value for found in (live.stable, live.previous) if found is not None},
            pinned={
                pin.release.value for pin in pins if pin.lifted_at is None and not isinstance(pin.release, release.Arm)
            },
        )
        if candidate is None:
            self._schedule.skipped(place, now)
            self._save()
            return False
        job = replays.Job(
            service=live.service,
            environment=live.environment,
            candidate=candidate,
            since_seconds=wanted.since_seconds,
            rate=wanted.rate,
        )
        self._schedule.started(place, candidate, now)
        self._save()
        try:
            self._process.start(job)
        except errors.UnavailableError as error:
            LOG.warning("replay_not_started", service=place[0], environment=place[1], reason=error.message)
            self._schedule.busy(place, now)
            return False
        self._running = place, job
        LOG.info("replay_started", service=place[0], environment=place[1], release=candidate.short)
        return True

    def _settle(self, place: Place, job: replays.Job, result: Mapping[str, Any], now: float) -> None:
        if result.get("code") == errors.Code.REPLAY_RUNS.value:
            self._schedule.busy(place, now)
            self._save()
            return
        verdict = result.get("verdict")
        self._schedule.ended(place, decided=verdict in (messages.Verdict.PASS, messages.Verdict.FAIL))
        with self._loop.lock:
            self._loop.ledger.note(place, at=now, rollout_id=None, kind=KIND, text=told(job, result))
            self._loop.flush()
        self._save()

    def _save(self) -> None:
        self._store.commit(store.Change(bookmarks={BOOKMARK: json.dumps(self._schedule.state())}))


_WORDS: Mapping[str, str] = {
    messages.Verdict.PASS: "passed",
    messages.Verdict.FAIL: "failed (nothing is pinned)",
    messages.Verdict.INCONCLUSIVE: "undecided",
}


def told(job: replays.Job, result: Mapping[str, Any]) -> str:
    """What came of a replay, for the history."""
    verdict = result.get("verdict")
    if verdict is None:
        return f"Replay of {job.candidate.short} could not be done: {result['error']}"
    pairs = result["pairs"]
    compared = pairs["compared_count"]
    agreed = f", {pairs['agreed_count']:,} of {compared:,} answers the same" if compared else ""
    return (
        f"Replay of {job.candidate.short} {_WORDS[verdict]}: {result['sent_count']:,} requests of the last "
        f"{units.format_duration(job.since_seconds)} that {result['stable']} answered{agreed}. {result['reason']}"
    )
