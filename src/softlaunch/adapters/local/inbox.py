"""
Labels that wait for the shipper: HOME/log/SERVICE/inbox/, a file for each push.

    {"schema": 1, "sha256": "…", "source": "api anna", "count": 2}
    ["1f0c6f0e-…:0", null, null, null, 1763941800.5, "late", 1.0, null, 0, null]
    …

A file is written beside its place, brought to the disk and renamed into it, so one that is there is whole. Its name
tells when it came, whether somebody waits for it, and the push's name; what comes twice is written once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Collection, Mapping
from typing import Any

import structlog

from softlaunch import errors
from softlaunch.core.labels import record
from softlaunch.ports import labels as ports

LOG = structlog.get_logger()
_SCHEMA = 1
_FOLDER, _ASIDE = "inbox", "quarantine"
_FILE = re.compile(r"(\d{17})-([un])-([A-Za-z0-9_-]{1,80})\.labels")
_MICROSECONDS = 1e6


class LocalInbox:
    """
    A ports.labels.Inbox.

    Args:
        root: HOME/log; need not exist.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def put(self, service: str, push: ports.Push, *, now: float) -> None:
        """See ports.labels.Inbox.put."""
        folder = self._root / service / _FOLDER
        body = "".join(f"{json.dumps(label, ensure_ascii=False)}\n" for label in push.labels).encode()
        head = {
            "schema": _SCHEMA,
            "sha256": hashlib.sha256(body).hexdigest(),
            "source": push.source,
            "count": len(push.labels),
        }
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._file(service, push.name) is not None:
                return
            place = folder / f"{round(now * _MICROSECONDS):017d}-{'u' if push.urgent else 'n'}-{push.name}.labels"
            part = place.with_suffix(f".{os.getpid()}.part")
            try:
                with os.fdopen(
                    os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb"
                ) as file:
                    file.write(f"{json.dumps(head)}\n".encode())
                    file.write(body)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(place)
            except OSError:
                with contextlib.suppress(OSError):
                    part.unlink()
                raise
            _sync(folder)
        except OSError as error:
            raise _unavailable(folder, error) from error

    def waiting(self) -> dict[str, list[ports.Waiting]]:
        """See ports.labels.Inbox.waiting."""
        found: dict[str, list[ports.Waiting]] = {}
        for path in sorted(self._root.glob(f"*/{_FOLDER}/*.labels"), key=lambda path: path.name):
            if matched := _FILE.fullmatch(path.name):
                found.setdefault(path.parent.parent.name, []).append(
                    ports.Waiting(name=matched[3], since=int(matched[1]) / _MICROSECONDS, urgent=matched[2] == "u")
                )
        return found

    def read(self, service: str, name: str) -> ports.Push | None:
        """See ports.labels.Inbox.read."""
        path = self._file(service, name)
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except OSError as error:
            raise _unavailable(path, error) from error
        head, _, body = content.partition(b"\n")
        try:
            told = json.loads(head)
            reason = _reason(told, body)
            if not reason:
                labels = [record.Label(*json.loads(line)) for line in body.split(b"\n") if line]
                return ports.Push(name=name, source=str(told["source"]), urgent="-u-" in path.name, labels=labels)
        except (ValueError, KeyError, TypeError):
            reason = "it is damaged"
        self._set_aside(service, path, reason)
        return None

    def drop(self, service: str, names: Collection[str]) -> None:
        """See ports.labels.Inbox.drop."""
        folder = self._root / service / _FOLDER
        try:
            for path in list(folder.glob("*.labels")):
                matched = _FILE.fullmatch(path.name)
                if matched and matched[3] in names:
                    path.unlink(missing_ok=True)
            _sync(folder)
        except OSError as error:
            raise _unavailable(folder, error) from error

    def _file(self, service: str, name: str) -> pathlib.Path | None:
        return next((self._root / service / _FOLDER).glob(f"*-[un]-{name}.labels"), None)

    def _set_aside(self, service: str, path: pathlib.Path, reason: str) -> None:
        aside = self._root / service / _ASIDE
        LOG.error("labels_set_aside", service=service, file=path.name, reason=reason, folder=_ASIDE)
        try:
            aside.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.replace(aside / path.name)
        except OSError as error:
            raise _unavailable(path, error) from error


def _reason(head: Mapping[str, Any], body: bytes) -> str:
    """Why a file cannot be taken; empty: it can."""
    if head["schema"] != _SCHEMA:
        return f"its schema is {head['schema']!r:.20}, which this version does not know"
    return "" if head["sha256"] == hashlib.sha256(body).hexdigest() else "its checksum is wrong"


def _sync(folder: pathlib.Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unavailable(path: pathlib.Path, error: OSError) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"Labels cannot be kept in {path}: {error.strerror}.",
        remedy="Make room or give the folder back to its owner, and send them again.",
        code=errors.Code.LOG_UNAVAILABLE,
    )
