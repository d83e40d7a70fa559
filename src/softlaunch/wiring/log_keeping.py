"""The prediction log, kept in order: see adapters.lake.keeping. Heavy libraries; control planes do not import this."""

from __future__ import annotations

import datetime
import json
import os
import time

import structlog

from softlaunch import errors
from softlaunch.adapters.lake import delta, keeping, profiles
from softlaunch.config import home as homes
from softlaunch.config import settings as setting
from softlaunch.wiring import log_place

LOG = structlog.get_logger()
EVERY_SECONDS = 3_600.0
"""Of the shipper's own rounds."""
_FORGOTTEN = "forgotten.jsonl"


def services(home: homes.Home) -> list[str]:
    """
    Those with a log.

    Raises:
        UnavailableError: the object store that has it cannot be reached.
    """
    return log_place.root(home).services(delta.TABLE)


def keep(home: homes.Home, settings: setting.Settings, service: str, *, dry_run: bool = False) -> keeping.Kept:
    """
    One round over a service's log and its labels; what it did with the log.

    Raises:
        UnavailableError: see keeping.Keeper.keep.
    """
    today = datetime.datetime.now(datetime.UTC).date()
    _labels(home, service).keep(today, keep_days=settings.log_keep_days, dry_run=dry_run)
    kept = _keeper(home, service).keep(today, keep_days=settings.log_keep_days, dry_run=dry_run)
    if settings.log_keep_days is not None and not dry_run:
        oldest = today - datetime.timedelta(days=settings.log_keep_days)
        before_hour = (oldest - datetime.date(1970, 1, 1)).days * 24
        profiles.SqliteProfiles(home.log).remove(service, before_hour=before_hour)
    return kept


def forget(
    home: homes.Home, service: str, key: str, *, key_name: str | None, dry_run: bool = False
) -> tuple[keeping.Forgotten, int]:
    """
    Removes a person's rows and their labels, and counts these; a note beside the log tells it, without the key.

    Raises:
        UnavailableError: see keeping.Keeper.forget.
    """
    ids = _keeper(home, service).ids_of(key, key_name)
    # Labels first: killed in between, the predictions tell still whose they are.
    labels = _labels(home, service).forget_labels(key, key_name=key_name, ids=ids, dry_run=dry_run)
    found = _keeper(home, service).forget(key, key_name=key_name, dry_run=dry_run)
    if (found.rows or labels) and not dry_run:
        line = {
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "key_name": key_name,
            "rows": found.rows,
            "labels": labels,
            "days": found.days,
        }
        (home.log / service).mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(home.log / service / _FORGOTTEN, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{json.dumps(line)}\n".encode())
        finally:
            os.close(fd)
    return found, labels


class Rounds:
    """
    The shipper's own: one over every service's log each hour.

    Args:
        home: Whose.
        settings: SOFTLAUNCH_LOG_KEEP.
    """

    def __init__(self, home: homes.Home, settings: setting.Settings) -> None:
        self._home = home
        self._settings = settings
        self._next_at = time.monotonic()

    def turn(self) -> None:
        """Makes a round if it is time; what goes wrong is logged, and tried again an hour later."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + EVERY_SECONDS
        try:
            found = services(self._home)
        except errors.UnavailableError as error:
            LOG.warning("log_not_kept", detail=str(error))
            return
        for service in found:
            try:
                kept = keep(self._home, self._settings, service)
            except errors.UnavailableError as error:
                LOG.warning("log_not_kept", service=service, detail=str(error))
                continue
            if kept.days_sorted or kept.days_removed:
                LOG.info(
                    "log_kept", service=service, days_sorted=kept.days_sorted, days_removed=kept.days_removed,
                    rows_removed=kept.rows_removed,
                )  # fmt: skip


def _keeper(home: homes.Home, service: str) -> keeping.Keeper:
    return keeping.Keeper(log_place.predictions(home, service))


def _labels(home: homes.Home, service: str) -> keeping.Keeper:
    return keeping.Keeper(log_place.labels(home, service), sorted_by="prediction_id")
