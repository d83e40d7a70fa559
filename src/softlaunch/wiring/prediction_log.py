"""The prediction log: who writes it, and who asks it. Its libraries are heavy; control planes do not import this."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import gc
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from softlaunch import errors
from softlaunch.adapters.envoy import attempt_log
from softlaunch.adapters.lake import asking, delta
from softlaunch.adapters.lake import profiles as live_profiles
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.spool import tail
from softlaunch.config import home as homes
from softlaunch.config import settings as setting
from softlaunch.controller import shelf
from softlaunch.controller.prediction_log import joining, profiling, shipping
from softlaunch.core import release
from softlaunch.core.drift import profile
from softlaunch.core.prediction_log import progress
from softlaunch.wiring import log_keeping

_TURN_SECONDS = 0.25
_ATTEMPTS = "attempts.log"


def ship(home: homes.Home, settings: setting.Settings, *, once: bool, going_on: Callable[[], bool]) -> int:
    """
    Moves recorded predictions into the log; rows moved.

    Args:
        home: Whose.
        settings: SOFTLAUNCH_LOG_EVERY, SOFTLAUNCH_LOG_KEEP.
        once: Until nothing waits; otherwise for as long as `going_on`.
        going_on: Asked at every turn.

    Raises:
        ConflictError: another process does it for this home.
    """
    home.prepare()
    # A batch is a million small objects in no cycle: looking for cycles among them takes a third of all time.
    gc.set_threshold(500_000, 10, 100)
    with _alone(home):
        shipper = shipping.Shipper(
            segments=tail.SegmentTail(home.spool),
            lake=delta.DeltaLake(home.log),
            attempts=joining.Attempts(
                attempt_log.AttemptLog(home.gateway / _ATTEMPTS, reopen=lambda: None, only_reads=True)
            ),
            content=_content(home),
            profiler=profiling.Profiler(live_profiles.SqliteProfiles(home.log), _reference(home)),
            every_seconds=settings.log_every_seconds,
        )
        rounds = log_keeping.Rounds(home, settings)
        count = 0
        while going_on():
            moved = shipper.turn(time.time(), drain=once)
            count += moved
            if once and not moved and not shipper.busy:
                break
            if not moved:
                if not once:
                    rounds.turn()
                time.sleep(_TURN_SECONDS)
        return count


def ask(home: homes.Home, service: str | None, sql: str, *, row_count_max: int) -> asking.Result:
    """
    The answer to a query over the view `predictions` of a service.

    Raises:
        ConfigError: no such log, several and none named, or the query is none.
    """
    return asking.ask(home.log / chosen(home, service) / delta.TABLE, sql, row_count_max=row_count_max)


def chosen(home: homes.Home, service: str | None) -> str:
    """
    The service meant: the one named, or the only one with a log.

    Raises:
        ConfigError: there is none, or several.
    """
    known = sorted(path.parent.name for path in home.log.glob(f"*/{delta.TABLE}"))
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status:
    """One spool and its log."""

    service: str
    environment: str
    waiting_segment_count: int
    waiting_bytes: int
    progress: progress.Progress

    def document(self, now: float) -> dict[str, Any]:
        """As `softlaunch log status --json` prints it."""
        found = self.progress
        return {
            "service": self.service,
            "environment": self.environment,
            "waiting_segments": self.waiting_segment_count,
            "waiting_bytes": self.waiting_bytes,
            **{name: found.counts.get(name, 0) for name in progress.COUNTED},
            "damage": dict(found.damage),
            "unread": dict(found.unread),
            "newest": found.time_max or None,
            "behind_seconds": max(0.0, now - found.time_max) if self.waiting_bytes and found.time_max else 0.0,
        }


def status(home: homes.Home) -> list[Status]:
    """Of every spool and log of this home."""
    segments, lake = tail.SegmentTail(home.spool), delta.DeltaLake(home.log)
    places = set(segments.places())
    states = {}
    for service in {place[0] for place in places} | {path.parent.name for path in home.log.glob(f"*/{delta.TABLE}")}:
        states[service] = lake.state(service)
        places |= {(service, environment) for environment in states[service].progress}
    found = []
    for service, environment in sorted(places):
        done = states[service].progress.get(environment, progress.Progress())
        waiting = segments.waiting(service, environment, dict(done.offsets))
        found.append(
            Status(
                service=service,
                environment=environment,
                waiting_segment_count=waiting.segment_count,
                waiting_bytes=waiting.byte_count,
                progress=done,
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


@contextlib.contextmanager
def _alone(home: homes.Home) -> Iterator[None]:
    """One shipper for a home; the lock ends with its process."""
    home.log.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(home.log / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.ConflictError(
                f"Another process moves predictions into {home.log} already.",
                remedy="Leave it to that one; `softlaunch log status` tells how far it is.",
                code=errors.Code.LOG_RUNS,
            ) from error
        yield
    finally:
        os.close(fd)
