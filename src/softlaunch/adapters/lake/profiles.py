"""
Live profiles of each service in one SQLite file beside its table: ROOT/SERVICE/profiles.sqlite.

    profile     a row for each environment, release, arm and hour: core.drift.live_codec
    binning     what the digests in them stand for, so that a profile can be read when its release is gone
    pending     of the batch that is being committed, under the mark its commit carries

`settle` merges what is pending and deletes it in one transaction, so it counts once however often it is repeated.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping

import structlog

from softlaunch import errors
from softlaunch.core.drift import binning, live_codec, live_profile
from softlaunch.core.prediction_log import progress
from softlaunch.ports import live_profiles, segments

FILE = "profiles.sqlite"
LOG = structlog.get_logger()
_WAIT_SECONDS = 30.0
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS profile (
    environment TEXT NOT NULL, release TEXT NOT NULL, arm TEXT NOT NULL, hour INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (environment, release, arm, hour)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS binning (digest BLOB PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pending (
    environment TEXT NOT NULL, release TEXT NOT NULL, arm TEXT NOT NULL, hour INTEGER NOT NULL, body BLOB NOT NULL,
    mark TEXT NOT NULL, PRIMARY KEY (environment, release, arm, hour)) WITHOUT ROWID;
"""


class SqliteProfiles:
    """
    A ports.live_profiles.LiveProfiles.

    Args:
        root: HOME/log; need not exist.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def prepare(
        self,
        service: str,
        environment: str,
        *,
        mark: str,
        profiles: live_profiles.Profiles,
        binnings: Iterable[binning.Binning],
    ) -> None:
        """See ports.live_profiles.LiveProfiles.prepare."""
        with self._transaction(service, create=True) as store:
            store.execute("DELETE FROM pending WHERE environment = ?", (environment,))
            store.executemany(
                "INSERT INTO pending VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (environment, key.release, key.arm, key.hour, live_codec.encode(found), mark)
                    for key, found in profiles.items()
                ],
            )
            store.executemany(
                "INSERT OR IGNORE INTO binning VALUES (?, ?)", [(each.digest, each.document()) for each in binnings]
            )

    def settle(self, service: str, progresses: Mapping[str, progress.Progress]) -> None:
        """See ports.live_profiles.LiveProfiles.settle."""
        if not self._path(service).exists():
            return
        with self._transaction(service) as store:
            for environment, told in progresses.items():
                pending = store.execute(
                    "SELECT release, arm, hour, body FROM pending WHERE environment = ? AND mark = ?",
                    (environment, told.profiles),
                ).fetchall()
                for name, arm, hour, body in pending:
                    place = (segments.environment_of(environment), name, arm, hour)
                    before = store.execute(
                        "SELECT body FROM profile WHERE environment = ? AND release = ? AND arm = ? AND hour = ?", place
                    ).fetchone()
                    if before is not None:
                        both = (live_codec.decode(before[0]), live_codec.decode(body))
                        body = live_codec.encode(live_profile.merge(both))  # noqa: PLW2901  # the same place, merged
                    store.execute("INSERT OR REPLACE INTO profile VALUES (?, ?, ?, ?, ?)", (*place, body))
                store.execute("DELETE FROM pending WHERE environment = ?", (environment,))

    def read(self, service: str, *, hours: tuple[int | None, int | None] = (None, None)) -> live_profiles.Kept:
        """See ports.live_profiles.LiveProfiles.read."""
        if not self._path(service).exists():
            return live_profiles.Kept(profiles=(), binnings={})
        with self._transaction(service) as store:
            found = store.execute(
                "SELECT environment, release, arm, hour, body FROM profile WHERE (?1 IS NULL OR hour >= ?1) "
                "AND (?2 IS NULL OR hour < ?2) ORDER BY environment, release, arm, hour",
                hours,
            ).fetchall()
            bins = store.execute("SELECT digest, body FROM binning").fetchall()
        return live_profiles.Kept(
            profiles=[
                (live_profile.Key(environment=place, release=name, arm=arm, hour=hour), live_codec.decode(body))
                for place, name, arm, hour, body in found
            ],
            binnings={digest: binning.load(body) for digest, body in bins},
        )

    def remove(self, service: str, *, before_hour: int) -> int:
        """See ports.live_profiles.LiveProfiles.remove."""
        if not self._path(service).exists():
            return 0
        with self._transaction(service) as store:
            return store.execute("DELETE FROM profile WHERE hour < ?", (before_hour,)).rowcount

    def _path(self, service: str) -> pathlib.Path:
        return self._root / service / FILE

    @contextlib.contextmanager
    def _transaction(self, service: str, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        path = self._path(service)
        try:
            if create and not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as store:
                # Written through before the log's commit: a power cut must not leave the commit without its counts.
                store.execute("PRAGMA synchronous = FULL")
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    store.execute(statement)
                store.execute("BEGIN IMMEDIATE")
                try:
                    yield store
                except BaseException:
                    store.execute("ROLLBACK")
                    raise
                store.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", None) in _DAMAGED:
                # The log must go on: what is spooled has room for so long only.
                aside = path.with_name(f"profiles.damaged-{time.time_ns()}.sqlite")
                path.rename(aside)
                LOG.exception("live_profiles_damaged", service=service, moved_to=str(aside))
            raise errors.UnavailableError(
                f"The live profiles {path} cannot be used: {error}.",
                remedy="Check the disk and the folder. A damaged file is moved aside and counting begins anew; the "
                "log is not touched.",
                code=errors.Code.LOG_UNAVAILABLE,
            ) from error
