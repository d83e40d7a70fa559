"""
What the local fleet remembers of each replica: one small JSON file, replaced by rename.

The rules that make kill -9 at any moment harmless:

* The record, with the instance's token, is written before the process is started (INTENDED), and the token is in the
  process's environment from its first instruction. A control plane that finds an INTENDED record looks for a process
  that has the token: found, the start had happened and the process is adopted; not found, it had not, and the record
  is dropped (the controller starts the replica again, as it re-applies what it wants every tick).
* Every later write only spares that search or keeps a message: when it fails (a full disk), nothing is lost that the
  token does not bring back.

A record holds no environment of the replica: secrets stay out of files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import os
import pathlib
import urllib.parse
from collections.abc import Iterator

import msgspec

from softlaunch.adapters.local import process
from softlaunch.ports import fleet


class Stage(enum.StrEnum):
    INTENDED = "intended"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    name: str
    token: str
    stage: Stage
    socket: str
    log: str
    log_offset: int = 0
    """Size of the log when this instance was started: what follows is its own."""
    pid: int = 0
    started: float = 0.0
    boot: str = ""
    kill_at: float = 0.0
    """Unix seconds; while STOPPING: when patience ends."""
    detail: str = ""

    @property
    def identity(self) -> process.Identity:
        return process.Identity(pid=self.pid, started=self.started, boot=self.boot, token=self.token)

    def running_as(self, identity: process.Identity) -> Record:
        """The record of the replica once its process is known."""
        return dataclasses.replace(
            self, stage=Stage.RUNNING, pid=identity.pid, started=identity.started, boot=identity.boot
        )


class Records:
    """The records of one fleet, in one directory."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory

    def save(self, record: Record) -> None:
        """
        Raises:
            OSError: the record could not be written; the one before is still there.
        """
        path = self._path(record.name)
        temporary = path.with_suffix(".tmp")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:  # noqa: PTH123 (a descriptor, not a path)
                file.write(msgspec.json.encode(record))
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self._path(name).unlink()

    def load(self) -> Iterator[Record | pathlib.Path]:
        """Every record; for one that cannot be read its path."""
        for path in sorted(self._directory.glob("*.json")):
            try:
                yield msgspec.json.decode(path.read_bytes(), type=Record)
            except (OSError, msgspec.MsgspecError):
                yield path

    def _path(self, name: str) -> pathlib.Path:
        return self._directory / f"{file_name(name)}.json"


def file_name(name: str) -> str:
    """A replica's name as one path component: readable, and different for different names."""
    parts = (urllib.parse.quote(part, safe="").replace(".", "%2E") for part in name.split("/"))
    return ".".join(parts)


SOCKET_NAME_BYTES_MAX = 12 + 1 + 10 + 1 + 8 + len(".sock")
"""Ten for the replica's number and that of its settings: more than there ever will be."""


def socket_name(spec: fleet.ReplicaSpec) -> str:
    """File name of the replica's socket: its release first, then its number, then a hash of its whole name."""
    return f"{spec.release.short}.{spec.number}.{hashlib.sha256(spec.name.encode()).hexdigest()[:8]}.sock"
