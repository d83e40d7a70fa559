"""The prediction log: who writes it, and who asks it. Its libraries are heavy; control planes do not import this."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

from softlaunch import errors
from softlaunch.adapters.envoy import attempt_log
from softlaunch.adapters.lake import asking, delta
from softlaunch.adapters.lake import profiles as live_profiles
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.spool import forwarded, quarantine, tail
from softlaunch.config import home as homes
from softlaunch.config import settings as setting
from softlaunch.controller import shelf
from softlaunch.controller.prediction_log import joining, outages, profiling, shipping
from softlaunch.core import release
from softlaunch.core.drift import profile
from softlaunch.core.prediction_log import progress
from softlaunch.ports import lake as lakes
from softlaunch.ports import segments
from softlaunch.wiring import labels as labelling
from softlaunch.wiring import log_keeping, log_lock, log_outages, log_place

_TURN_SECONDS = 0.25
_ATTEMPTS = "attempts.log"
_NOBODY: Mapping[str, Any] = {
    "since": None,
    "detail": "No process moves records into the log now.",
    "remedy": "Run `softlaunch up`, or move what waits with `softlaunch log ship --once`.",
}


def ship(home: homes.Home, settings: setting.Settings, *, once: bool, going_on: Callable[[], bool]) -> int:
    """
    Moves recorded predictions from the spool into the log; rows moved.

    Args:
        home: Whose.
        settings: SOFTLAUNCH_LOG_EVERY, SOFTLAUNCH_LOG_KEEP.
        once: Until nothing waits; otherwise for as long as `going_on`.
        going_on: Asked at every turn.

    Raises:
        ConflictError: another process does it for this home.
        UnavailableError: `once`, and a log cannot be written.
    """
    home.prepare()
    with log_lock.alone(home), contextlib.closing(log_outages.Note(home)) as note:
        failures = outages.Outages(note.tell)
        shipper = shipper_of(home, settings, spool_of(home), failures=failures)
        taker = labelling.taker(home, every_seconds=settings.log_every_seconds)
        rounds = log_keeping.Rounds(home, settings)
        count = 0
        while going_on():
            moved = shipper.turn(time.time(), drain=once)
            count += moved
            taker.turn(time.time(), drain=once)
            if once and not moved and not shipper.busy:
                break
            if not moved:
                if not once:
                    rounds.turn()
                time.sleep(_TURN_SECONDS)
        for outage in failures.found.values() if once else ():
            raise errors.UnavailableError(outage.detail, remedy=outage.remedy, code=errors.Code.LOG_UNAVAILABLE)
        return count


def shipper_of(
    home: homes.Home,
    settings: setting.Settings,
    source: segments.Segments,
    *,
    failures: outages.Outages,
    accounts: bool = True,
) -> shipping.Shipper:
    """
    What moves from there into the home's log.

    Args:
        home: Whose.
        settings: SOFTLAUNCH_LOG_EVERY.
        source: Records.
        failures: Told of logs that cannot be written.
        accounts: Whether the source has every record of this home.
    """
    # A batch is a million small objects in no cycle: looking for cycles among them takes a third of all time.
    gc.set_threshold(500_000, 10, 100)
    log = attempt_log.AttemptLog(home.gateway / _ATTEMPTS, reopen=lambda: None, only_reads=True)
    return shipping.Shipper(
        segments=source,
        lake=delta.DeltaLake(log_place.root(home)),
        attempts=joining.Attempts(log, accounts=accounts),
        content=_content(home),
        failures=failures,
        profiler=profiling.Profiler(live_profiles.SqliteProfiles(home.log), _reference(home)),
        every_seconds=settings.log_every_seconds,
    )


def spool_of(home: homes.Home) -> tail.SegmentTail:
    """The home's spool; what was put on a stream before is not read from it."""
    files = forwarded.ForwardedFiles(home.spool)

    def elsewhere(service: str, environment: str) -> Mapping[str, int]:
        place = files.load(service, environment)
        return {} if place is None else place.offsets

    return tail.SegmentTail(home.spool, elsewhere=elsewhere, aside=quarantine.Quarantine(home.log))


def ask(
    home: homes.Home, service: str | None, sql: str, *, row_count_max: int, as_of: datetime.datetime | None = None
) -> asking.Result:
    """
    The answer to a query over the views `predictions`, `labels` and `labelled` of a service.

    Args:
        home: Whose.
        service: None: the only one.
        sql: The query.
        row_count_max: Of the answer.
        as_of: What `labelled` knows; None: all of now.

    Raises:
        ConfigError: no such log, several and none named, or the query is none.
    """
    name = chosen(home, service)
    view = labelling.joined(home, name, as_of=as_of)
    return asking.ask(log_place.predictions(home, name), sql, labelled=view, row_count_max=row_count_max)


def chosen(home: homes.Home, service: str | None) -> str:
    """
    The service meant: the one named, or the only one with a log.

    Raises:
        ConfigError: there is none, or several.
    """
    known = log_keeping.services(home)
    if service is None and len(known) == 1:
        return known[0]
    if service is None or service not in known:
        raise errors.ConfigError(
            f"There is no prediction log of {service!r}." if service else "Which service's log is not clear.",
            remedy=f"Choose one of {', '.join(known)} with --service."
            if known
            else "Send requests to a service; they are in its log half a minute later.",
            code=errors.Code.NO_LOG,
        )
    return service


Behind = Callable[[str, str, dict[str, int]], int | None]
"""Service, part of a stream, and place in it to messages behind that; None: not known."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status:
    """One spool and its log."""

    service: str
    environment: str
    waiting_segment_count: int
    waiting_bytes: int
    progress: progress.Progress
    outage: Mapping[str, Any] | None = None
    """`detail` and `remedy` of what keeps it from being written, and `since` when."""
    part: str | None = None
    """Of a stream that it came through."""
    waiting_messages: int | None = None
    """In that part; None: not known."""

    def document(self, now: float) -> dict[str, Any]:
        """As `softlaunch log status --json` prints it."""
        found = self.progress
        return {
            "service": self.service,
            "environment": self.environment,
            "part": self.part,
            "waiting_segments": self.waiting_segment_count,
            "waiting_bytes": self.waiting_bytes,
            "waiting_messages": self.waiting_messages,
            **{name: found.counts.get(name, 0) for name in progress.COUNTED},
            "damage": dict(found.damage),
            "unread": dict(found.unread),
            "newest": found.time_max or None,
            "behind_seconds": max(0.0, now - found.time_max)
            if (self.waiting_bytes or self.waiting_messages) and found.time_max
            else 0.0,
            "outage": self.outage,
        }


def status(home: homes.Home, *, behind: Behind = lambda *_: None) -> list[Status]:
    """
    Of every spool and log of this home, and of every part of a stream that has come into it.

    Args:
        home: Whose.
        behind: Tells what waits in a part of a stream.
    """
    spooled, lake = spool_of(home), delta.DeltaLake(log_place.root(home))
    places = set(spooled.places())
    states = {}
    told = log_outages.read(home)
    outs = told or {}
    services = {place[0] for place in places}
    with contextlib.suppress(errors.UnavailableError):  # of those with a spool it is told below
        services |= set(log_keeping.services(home))
    for service in services:
        try:
            states[service] = lake.state(service)
        except errors.UnavailableError as error:
            states[service] = lakes.TableState()
            outs.setdefault(service, {"since": None, "detail": error.message, "remedy": error.remedy})
        places |= {(service, environment) for environment in states[service].progress}
    found = []
    for service, source in sorted(places):
        done = states[service].progress.get(source, progress.Progress())
        environment, _, part = source.partition("@")
        if part:
            found.append(
                Status(
                    service=service,
                    environment=environment,
                    waiting_segment_count=0,
                    waiting_bytes=0,
                    progress=done,
                    part=part,
                    waiting_messages=behind(service, source, dict(done.offsets)),
                )
            )
            continue
        waiting = spooled.waiting(service, environment, dict(done.offsets))
        found.append(
            Status(
                service=service,
                environment=environment,
                waiting_segment_count=waiting.segment_count,
                waiting_bytes=waiting.byte_count,
                progress=done,
                outage=outs.get(service) or (_NOBODY if told is None and waiting.byte_count else None),
            )
        )
    return found


def _content(home: homes.Home) -> shipping.Content:
    registry = oci_registry.OciRegistry(home.registry)
    shelves = shelf.Shelf(registry, home.releases)

    def find(service: str, digits: str) -> release.ReleaseContent | None:
        name, _ = release.split_number(digits)  # changed settings change no signature
        digest = registry.resolve(name, service=service) if name else None
        if digest is None:
            return None
        with contextlib.suppress(
            errors.ConfigError, errors.UnavailableError
        ):  # then its rows tell that they are unread
            return shelves.take(digest)[1]
        return None

    return find


def _reference(home: homes.Home) -> profiling.Reference:
    registry = oci_registry.OciRegistry(home.registry)
    shelves = shelf.Shelf(registry, home.releases)

    def find(service: str, digits: str) -> profile.Profile | None:
        name, _ = release.split_number(digits)
        digest = registry.resolve(name, service=service) if name else None
        # Without it live values are counted in the general bins.
        with contextlib.suppress(errors.ConfigError, errors.UnavailableError, OSError):
            if digest is not None:
                directory, content = shelves.take(digest)
                if content.profile_file is not None:
                    return profile.load((directory / content.profile_file).read_bytes())
        return None

    return find
